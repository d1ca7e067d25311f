-- Ids of images that were deleted. Who may choose an id must not take one that others still name: scripts, and
-- servers that were made from it.
CREATE TABLE image_tombstones (
    id TEXT PRIMARY KEY
);
