#!lua
-- Adds an agent or refreshes its capabilities; the first registration time and a revocation stay.
-- KEYS  1 federation (hash)  2 agents (hash)  3 registered (hash)  4 last_seen (hash)  5 revoked (set)
-- ARGV  1 agent id  2 capabilities (JSON)  3 registered at  4 last seen at
-- Reply {registered, first registration time, revoked (0/1)} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[4])
return {'registered', redis.call('HGET', KEYS[3], ARGV[1]), tostring(redis.call('SISMEMBER', KEYS[5], ARGV[1]))}
