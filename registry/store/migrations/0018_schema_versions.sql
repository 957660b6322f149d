-- How often the attribute schema of a thing type was changed, its removal included, so that of two who edit it the later one is told.
ALTER TABLE thing_types ADD COLUMN schema_version BIGINT NOT NULL DEFAULT 0;
UPDATE thing_types SET schema_version = 1 WHERE attribute_schema <> '';
