-- What has left the window, and how the rest is kept. It follows `state.lua`.
local SLOT, SLOTS = 10, 60
-- A clock set back by more than this, and than the window, has been set; by less, requests have overtaken each other.
local OVERTAKEN = 300000
-- Longer than any copy lives, so that a nonce outlives those who know it.
local KEPT = 90000

local function place(at)
  return math.floor(at / width)
end

local slots
-- How many requests the bucket at a place holds, and when its last one was.
local function bucket(at_place)
  if at_place == place(last) then
    return newest, last
  end
  slots = slots or redis.call('GETRANGE', key, HEADER, -1)
  local count, at = struct.unpack('<I4I6', slots, at_place % SLOTS * SLOT + 1)
  -- Slots are not cleared; what is in this one may be from an earlier round.
  if place(at) == at_place then
    return count, at
  end
  return 0, 0
end

-- The present as this window sees it: never before its last request.
local now = clock
-- Whether the slots were written under another clock or for another length, and have to be cleared.
local is_void = false
if counted > 0 then
  if last - clock > math.max(window, OVERTAKEN) then
    -- The clock was set back. All are taken to be from now; otherwise the key would wait for the old time to return.
    last, oldest, newest, is_void = clock, clock, counted, true
  elseif length ~= window then
    oldest, newest, is_void = last, counted, true
  end
  now = math.max(clock, last)
  if now - last >= window then
    counted, newest = 0, 0
  elseif now - oldest >= window then
    -- Lets the buckets go whose last request has left the window.
    local leaving = place(oldest)
    while true do
      local count, at = bucket(leaving)
      if count > 0 and now - at < window then
        oldest = at
        break
      end
      counted = counted - count
      leaving = leaving + 1
    end
  end
end

local function save()
  local bytes = struct.pack('<dddddddc8', last, oldest, window, counted, newest, version, ends, nonce)
  if is_new then
    redis.call('SET', key, bytes .. string.rep('\0', SLOT * SLOTS))
    return
  end
  if is_void then
    redis.call('SETRANGE', key, HEADER, string.rep('\0', SLOT * SLOTS))
  end
  redis.call('SETRANGE', key, 0, bytes)
end

local function keep()
  redis.call('PEXPIRE', key, math.max(window, KEPT, ends - clock) + 1000)
end
