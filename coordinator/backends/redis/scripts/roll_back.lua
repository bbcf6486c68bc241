#!lua flags=allow-oom
-- Publishes a version that shares the adapter of an older one, and abandons the versions in between.
-- KEYS  1 federation (hash)  2 versions (hash)  3 lineage (hash)  4 lifetimes (zset)
-- ARGV  1 number of the older version  2 body of the new version (JSON)  3 the same without server state
--       4 blob id of the older version's server state, or ''  5 for how many versions a state is kept  6 channel
--       7 name of the federation  8 the head that the bodies were signed after, or '' if they are not  9 epoch likewise
--       then the blob ids of the older version's adapters
-- Reply {done} | {moved} | {version_unknown} | {version_abandoned} | {version_not_retained, oldest} | {federation_unknown}
--       A head that restores the same version already is left as it is.
local federation = redis.call('HMGET', KEYS[1], 'head', 'oldest', 'restores', 'keep_versions', 'epoch')
if not federation[1] then return {'federation_unknown'} end
local target, head = tonumber(ARGV[1]), tonumber(string.match(federation[1], '^%d+:(%d+):'))
local lineage = redis.call('HGET', KEYS[3], ARGV[1])
if not lineage then return {'version_unknown'} end
if target == head or federation[3] == ARGV[1] then return {'done'} end
local digest, abandoned = string.match(lineage, '^%d+:(.*):([01])$')
if abandoned == '1' then return {'version_abandoned'} end
if target < tonumber(federation[2]) then return {'version_not_retained', federation[2]} end
if ARGV[8] ~= '' and (federation[1] ~= ARGV[8] or federation[5] ~= ARGV[9]) then return {'moved'} end
local state_until = ARGV[4] ~= '' and redis.call('ZSCORE', KEYS[4], ARGV[4])
local has_state = state_until and tonumber(state_until) > head  -- else it is swept, or may be at any moment

for number = target + 1, head do
  local left_behind = redis.call('HGET', KEYS[3], number)
  redis.call('HSET', KEYS[3], number, string.sub(left_behind, 1, -2) .. '1')
end
local epoch, number = redis.call('HINCRBY', KEYS[1], 'epoch', 1), head + 1
local keep_versions = tonumber(federation[4])
redis.call('HSET', KEYS[2], number, has_state and ARGV[2] or ARGV[3])
redis.call('HSET', KEYS[3], number, epoch .. ':' .. digest .. ':0')
if has_state then redis.call('ZADD', KEYS[4], 'GT', number + tonumber(ARGV[5]), ARGV[4]) end
for i = 10, #ARGV do redis.call('ZADD', KEYS[4], 'GT', number + keep_versions, ARGV[i]) end
redis.call('HSET', KEYS[1], 'head', epoch .. ':' .. number .. ':' .. digest,
  'oldest', math.max(0, number - keep_versions + 1), 'restores', ARGV[1])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return {'done'}
