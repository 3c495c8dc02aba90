-- Marks copies below a version as stale for so many milliseconds. Of two marks the higher version and the later end hold.
if clock >= ends then
  version = tonumber(ARGV[3])
else
  version = math.max(version, tonumber(ARGV[3]))
end
ends = math.max(ends, clock + tonumber(ARGV[4]))
save()
keep()
return {1, counted, 0, 0, NONE}
