-- OnnxModel follows the kstatus conventions (observedGeneration, Ready, Reconciling, Stalled):
-- https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
-- No string, math or io library is used, so that the same text works in argocd-cm and as a built-in.
local hs = { status = "Progressing", message = "Waiting for the OnnxModel operator" }

if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "OnnxModel is being deleted"
  return hs
end

if obj.spec ~= nil and obj.spec.suspend == true then
  hs.status = "Suspended"
  hs.message = "spec.suspend is true"
  return hs
end

if obj.status == nil or obj.status.conditions == nil then
  return hs
end

-- An operator that has not seen this generation has said nothing about it.
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for the OnnxModel operator to observe the new spec"
  return hs
end

local ready, reconciling, stalled = nil, nil, nil
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then ready = condition end
  if condition.type == "Reconciling" then reconciling = condition end
  if condition.type == "Stalled" then stalled = condition end
end

if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.message
  return hs
end

if reconciling ~= nil and reconciling.status == "True" then
  hs.message = reconciling.message
  return hs
end

if ready ~= nil and ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.message
  return hs
end

-- Nothing is wrong and nothing is under way: the spec asks for no pods.
if obj.spec ~= nil and obj.spec.serving ~= nil and obj.spec.serving.replicas == 0 then
  hs.status = "Suspended"
  hs.message = "spec.serving.replicas is 0"
  return hs
end

if ready ~= nil then
  hs.message = ready.message
end
return hs
