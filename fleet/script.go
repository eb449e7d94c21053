package fleet

// leaseScript gives out tokens of one budget. It is a generic cell rate
// algorithm with reservations, on Redis's own clock: of all that a budget has
// let through it keeps one time, tat, at which the bucket will be full again.
// A token costs 1/rate of a second of it; now+burst/rate less tat is what can
// be had at once, and what tat lies beyond that is the queue.
//
//	tat    when the bucket is full again, in microseconds
//	own    the same of what the interactive lane took ahead of the queue
//	pre    the same of what was given out in advance, at twice the rate
//	shift  by how much the interactive lane has put off the queue, in all
//	at     when the script last ran
//
// What is read from the key is bent into its bounds, and a key of another kind
// is thrown away: another may have written it, or the clock was set. A clock that was set
// back moves all times with it; one that was set forward leaves a full bucket.
//
// Answered are: the tokens given, -1 for none; in how many microseconds they may
// be used, or could be had; and shift.
const leaseScript = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local need, want, more = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local hold, interactive = tonumber(ARGV[6]), ARGV[7] == '1'
local back, owed, ahead = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local each = 1000000 / rate
local full = burst * each

local function within(v, low, high)
  if not v or not (v > low) then return low end
  if v > high then return high end
  return v
end
local saved = redis.pcall('HMGET', KEYS[1], 'tat', 'own', 'pre', 'shift', 'at')
if saved.err then
  redis.call('DEL', KEYS[1])
  saved = {}
end
for i = 1, 5 do saved[i] = tonumber(saved[i]) or 0 end
local behind = within(saved[5] - now, 0, 1e15)
local tat = within(saved[1] - behind, now, now + full + ahead)
local own = within(saved[2] - behind, now, now + ahead)
local pre = within(saved[3] - behind, now, now + full / 2)
local shift = within(saved[4], 0, 1e15)

tat = math.max(now, tat - back * each)
if tat < now + 2 * full then tat = math.min(tat + owed * each, now + 2 * full) end

local free = math.floor((now + full - tat) / each + 0.000001)
local down = math.min(need, burst)
local given, wait = -1, 0
if need == 0 or free >= down then
  given = math.max(need, math.min(want, free))
  local extra = math.floor((now + full / 2 - pre) / (each / 2) + 0.000001)
  extra = math.min(more, free - given, extra)
  if extra > 0 then
    given = given + extra
    pre = pre + extra * each / 2
  end
  if given == 0 then wait = math.max(0, tat + each - full - now) end
  tat = tat + given * each
else
  wait = tat + down * each - full - now
  local jump = interactive and own - now < wait
  if jump then wait = own - now end
  if wait <= hold then
    given = need
    tat = tat + need * each
    if jump then
      own = own + need * each
      shift = shift + need * each
    end
  end
end

local function whole(v) return string.format('%.0f', math.ceil(v)) end
redis.call('HSET', KEYS[1], 'tat', whole(tat), 'own', whole(own), 'pre', whole(pre), 'shift', whole(shift), 'at', whole(now))
redis.call('PEXPIRE', KEYS[1], whole((math.max(tat, own, pre) - now) / 1000 + 10000))
return {given, math.ceil(wait), math.ceil(shift)}
`

// setBrakeScript writes one brake, or that one was lifted: it stands in the
// hash like a brake, so that proxies which know the brake from before Redis lost
// it hear of its end. The field without a name changes with every write. A
// brake that is over is thrown out, and the hash ends with the last of them.
//
// Answered is 1 where the name had a brake, 2 where it was lifted already, 0 where
// nothing is known of it, and -1 where there are too many.
const setBrakeScript = `
local t = redis.call('TIME')
local now = math.floor(t[1] * 1000 + t[2] / 1000)
local field, rate, by, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local life, most = tonumber(ARGV[5]), tonumber(ARGV[6])
local size = redis.pcall('HLEN', KEYS[1])
if type(size) == 'table' then
  redis.call('DEL', KEYS[1])
  size = 0
end
if size > 2 * most then return -1 end
local had, others = 0, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local was, ends = string.match(all[i + 1], '^1\t([^\t]*)\t(%d+)\t')
  ends = tonumber(ends)
  if all[i] == '' then
  elseif not ends or ends <= now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= field then
    others = others + 1
  elseif was == 'lifted' then
    had = 2
  else
    had = 1
    if rate == 'lifted' then life = math.max(life, ends - now) end
  end
end
if others >= most then return -1 end
local ends = string.format('%.0f', now + life)
redis.call('HSET', KEYS[1], field, table.concat({'1', rate, ends, by, why}, '\t'), '', string.format('%.0f', t[1] * 1000000 + t[2]))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(redis.call('PTTL', KEYS[1]), life)))
return had
`

// readBrakesScript answers Redis's time in milliseconds, the version of the
// brakes, and, unless that is the one known, a field and a value of each. What
// is larger than a brake can be isn't sent.
const readBrakesScript = `
local t = redis.call('TIME')
local now = math.floor(t[1] * 1000 + t[2] / 1000)
local version = redis.pcall('HGET', KEYS[1], '') or ''
if type(version) == 'table' then return {now, '', 'no hash', ''} end
local most, size = tonumber(ARGV[2]), tonumber(ARGV[3])
if #version > 32 then version = 'unreadable' end
if version == ARGV[1] then return {now, version} end
if redis.call('HLEN', KEYS[1]) > 2 * most then return {now, version, 'too many', ''} end
local out = {now, version}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= '' then
    local fits = #all[i] <= size and #all[i + 1] <= size
    out[#out + 1] = fits and all[i] or 'too long'
    out[#out + 1] = fits and all[i + 1] or ''
  end
end
return out
`
