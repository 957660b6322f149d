-- Every new thing wrote a page of each of these indexes, which nothing asks: the registry keeps things in memory. What is left finds the
-- things of a billing group when it is deleted; a thing type that is deleted looks through all things, which is rare.
DROP INDEX things_type;
DROP INDEX things_billing_group;
CREATE INDEX things_billing_group ON things (billing_group) WHERE billing_group IS NOT NULL;
