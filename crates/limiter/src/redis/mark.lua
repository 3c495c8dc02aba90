-- Marks copies below a version as stale while it lasts. Of two marks the higher version and the later end hold.
if clock >= ends then
  version = known
else
  version = math.max(version, known)
end
ends = math.max(ends, clock + lasting)
save()
keep()
return struct.pack(REPLY, 1, counted, 0, 0, NONE)
