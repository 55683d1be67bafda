//! RocksDB's options.
use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, LruCacheOptions, Options, SliceTransform};

use super::{EngineError, table_key};
use crate::api::Config;

/// The block cache has four parts: in the sixty-four that RocksDB would make of it, the filter of a large file finds no room, and is read
/// anew for every key.
const CACHE_SHARD_BITS: i32 = 2;

/// How the tables are kept.
pub(super) fn options(config: &Config) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(config.write_buffer_bytes);
    options.set_max_write_buffer_number(3);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Most of what a level is rewritten for are the versions of keys that come anew with every flush: twice as many flushes at once halve that.
    options.set_level_zero_file_num_compaction_trigger(8);
    options.set_compression_type(DBCompressionType::Lz4);
    // A filter knows which keys a file has versions of, so that a key that is new or old is not looked for in every file. Whoever walks over
    // more than one key asks for the total order.
    options.set_prefix_extractor(SliceTransform::create(
        "mainstay.key",
        |row| table_key::split_version(row).map_or(row, |(shared, _)| shared),
        Some(table_key::is_version),
    ));
    options.set_memtable_prefix_bloom_ratio(0.1);
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_max_open_files(512);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    // An idle store is quiet.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    let mut blocks = BlockBasedOptions::default();
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(config.block_cache_bytes);
    cache.set_num_shard_bits(CACHE_SHARD_BITS);
    blocks.set_block_cache(&Cache::new_lru_cache_opts(&cache));
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_block_size(16 << 10);
    blocks.set_format_version(5);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_whole_key_filtering(false);
    options.set_block_based_table_factory(&blocks);
    options
}

/// Opens the tables, with the write-ahead log off: after a crash they stand at their last flush, and the Raft log tells the rest.
pub(super) fn open(path: &Path, config: &Config) -> Result<DB, EngineError> {
    let failed = EngineError::rocksdb("opening the tables");
    let mut options = options(config);
    if config.platform.is_simulated() {
        options = match options.get_options_from_string("avoid_flush_during_shutdown=true") {
            Ok(options) => options,
            Err(error) => return Err(failed(error)),
        };
    }
    DB::open(&options, path).map_err(failed)
}
