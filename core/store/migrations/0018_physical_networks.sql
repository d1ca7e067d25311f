-- Where a network is in the operator's own networks: NULL for one of the cloud's own making. Untagged, segmentation_id is 0.
ALTER TABLE networks ADD COLUMN physical_network TEXT;
ALTER TABLE networks ADD COLUMN segmentation_id BIGINT;
CREATE UNIQUE INDEX networks_by_place ON networks (physical_network, segmentation_id);
