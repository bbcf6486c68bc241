#!lua
-- Creates a federation and adopts its first blobs.
-- KEYS  1 federation (hash)  2 versions (hash)  3 lineage (hash)  4 queue (stream)  5 unclaimed (zset)  6 lifetimes (zset)
-- ARGV  1 name  2 record (JSON)  3 paused (0/1)  4 body of version 0 (JSON)  5 epoch of version 0  6 digest of version 0
--       7 retention.versions  8 retention.delta_versions  9 limits.max_queue_deltas  10 consumer group  11 channel
--       then pairs: blob id, head number from which it may be deleted (or +inf)
-- Reply {created} | {exists} | {blob_missing, blob id}.  The very same creation again answers {created}.
local lineage = ARGV[5] .. ':' .. ARGV[6] .. ':0'
local record = redis.call('HGET', KEYS[1], 'record')
if record then
  if record == ARGV[2] and redis.call('HGET', KEYS[2], '0') == ARGV[4] and redis.call('HGET', KEYS[3], '0') == lineage then
    return {'created'}
  end
  return {'exists'}
end
for i = 12, #ARGV, 2 do
  if not redis.call('ZSCORE', KEYS[5], ARGV[i]) then return {'blob_missing', ARGV[i]} end
end

redis.call('HSET', KEYS[1],
  'record', ARGV[2], 'paused', ARGV[3],
  'epoch', ARGV[5], 'head', ARGV[5] .. ':0:' .. ARGV[6], 'oldest', '0', 'restores', '',
  'keep_versions', ARGV[7], 'keep_deltas', ARGV[8], 'max_queue', ARGV[9])
redis.call('HSET', KEYS[2], '0', ARGV[4])
redis.call('HSET', KEYS[3], '0', lineage)
redis.call('XGROUP', 'CREATE', KEYS[4], ARGV[10], '0', 'MKSTREAM')
for i = 12, #ARGV, 2 do
  redis.call('ZREM', KEYS[5], ARGV[i])
  redis.call('ZADD', KEYS[6], 'GT', ARGV[i + 1], ARGV[i])
end
redis.call('PUBLISH', ARGV[11], ARGV[1])
return {'created'}
