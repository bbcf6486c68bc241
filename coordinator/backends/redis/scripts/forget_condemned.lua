#!lua flags=allow-oom
-- Forgets blobs that were deleted; one that a rival had forgotten before, and that was adopted anew since, is kept.
-- KEYS  1 federation (hash)  2 lifetimes (zset)
-- ARGV  blob ids
-- Reply {forgotten, how many}
local head = redis.call('HGET', KEYS[1], 'head')
local number = head and tonumber(string.match(head, '^%d+:(%d+):')) or -1
local count = 0
for _, blob in ipairs(ARGV) do
  local until_number = redis.call('ZSCORE', KEYS[2], blob)
  if until_number and tonumber(until_number) <= number then count = count + redis.call('ZREM', KEYS[2], blob) end
end
return {'forgotten', count}
