#!lua flags=allow-oom
-- Condemns unclaimed blobs that are too old, and lists blobs that nothing needs any more. The caller deletes the blobs
-- (their keys live in other slots) and then removes them from `lifetimes`; a crash in between leaves them listed.
-- KEYS  1 federation (hash)  2 unclaimed (zset)  3 lifetimes (zset)
-- ARGV  1 begun before this time  2 the lifetime of condemned blobs  3 at most so many
-- Reply blob ids
local head = redis.call('HGET', KEYS[1], 'head')
local number = head and string.match(head, '^%d+:(%d+):') or ARGV[2]
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[3])
for _, blob in ipairs(expired) do
  redis.call('ZREM', KEYS[2], blob)
  redis.call('ZADD', KEYS[3], ARGV[2], blob)
end
return redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', number, 'LIMIT', 0, ARGV[3])
