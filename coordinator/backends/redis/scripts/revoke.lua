#!lua flags=allow-oom
-- Marks an agent as revoked, and announces the federation, so that coordinators end its calls.
-- KEYS  1 federation (hash)  2 agents (hash)  3 revoked (set)
-- ARGV  1 agent id  2 federation  3 channel
-- Reply {done} | {agent_unknown} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return {'agent_unknown'} end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[2])
return {'done'}
