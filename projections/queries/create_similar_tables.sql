-- Make a model's tables: {photos} and {clusters}. Vectors stay in the row: fetched from aside, an exact scan takes twice as long.
CREATE TABLE IF NOT EXISTS {photos} (
    pet_id text COLLATE "C" NOT NULL,
    image_id text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    at timestamptz NOT NULL,
    vector halfvec({dimension}) NOT NULL,
    PRIMARY KEY (pet_id, image_id)
) WITH (toast_tuple_target = 8160);
CREATE TABLE IF NOT EXISTS {clusters} (
    pet_id text COLLATE "C" NOT NULL,
    cluster_number integer NOT NULL,
    version bigint NOT NULL,
    member_count integer NOT NULL,
    vector halfvec({dimension}) NOT NULL,
    PRIMARY KEY (pet_id, cluster_number)
) WITH (toast_tuple_target = 8160)
