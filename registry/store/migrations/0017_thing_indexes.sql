-- Every new thing wrote a page of each of these indexes, which nothing asks: the registry keeps things in memory. What is left finds the
-- things of a billing group when it is deleted. A thing type is deleted without such a look.
DROP INDEX things_type;
DROP INDEX things_billing_group;
CREATE INDEX things_billing_group ON things (billing_group) WHERE billing_group IS NOT NULL;
