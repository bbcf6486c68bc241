#!lua
-- Makes a staged federation exist and adopts its blobs.
-- KEYS  1 federation (hash)  2 unclaimed (zset)  3 lifetimes (zset)  4 staged_lifetimes (zset)
--       then pairs, staged key and key: 5 staged_versions (hash), versions, staged queue, 8 queue (stream), and all others
-- ARGV  1 name of the restore  2 number of the head  3 consumer group  4 channel  5 name of the federation
--       then pairs: field of the federation's hash, value
-- Reply {published} | {exists} | {incomplete}.  The very same restore again answers {published}.
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'restored') == ARGV[1] then return {'published'} end
  return {'exists'}
end
if redis.call('HLEN', KEYS[5]) ~= tonumber(ARGV[2]) + 1 then return {'incomplete'} end
local blobs = redis.call('ZRANGE', KEYS[4], 0, -1)
for _, blob in ipairs(blobs) do
  if not redis.call('ZSCORE', KEYS[2], blob) then return {'incomplete'} end
end

for i = 5, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[i + 1])
    redis.call('PERSIST', KEYS[i + 1])
  end
end
if redis.call('EXISTS', KEYS[8]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[8], ARGV[3], '0', 'MKSTREAM') end
if #blobs > 0 then redis.call('ZUNIONSTORE', KEYS[3], 2, KEYS[3], KEYS[4], 'AGGREGATE', 'MAX') end
for _, blob in ipairs(blobs) do redis.call('ZREM', KEYS[2], blob) end
redis.call('UNLINK', KEYS[4])
redis.call('HSET', KEYS[1], 'restored', ARGV[1], unpack(ARGV, 6))
redis.call('PUBLISH', ARGV[4], ARGV[5])
return {'published'}
