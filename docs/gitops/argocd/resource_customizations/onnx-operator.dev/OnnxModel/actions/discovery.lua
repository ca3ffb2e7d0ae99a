-- The annotations are orders to the operator (docs/rollouts.md); status says which of them have something to do.
local rollout = {}
if obj.status ~= nil and obj.status.rollout ~= nil then rollout = obj.status.rollout end
local annotations = obj.metadata.annotations
if annotations == nil then annotations = {} end

local suspended = obj.spec ~= nil and obj.spec.suspend == true
local step = rollout.step ~= nil
local refused = rollout.refused ~= nil and rollout.refused[1] ~= nil
local paused = annotations["onnx-operator.dev/pause"] == "true"
local proven = obj.status ~= nil and obj.status.active ~= nil

local actions = {}
local function offer(name, possible, title, icon)
  actions[name] = {["disabled"] = not possible, ["displayName"] = title, ["iconClass"] = "fa fa-fw fa-" .. icon}
end
offer("suspend", not suspended, "Suspend", "stop-circle")
offer("resume", suspended, "Resume", "play-circle")
offer("promote", step, "Promote: end the canary's step", "step-forward")
offer("abort", rollout.revision ~= nil, "Abort the rollout", "undo")
offer("retry", refused, "Retry what was refused", "redo")
offer("pause", step and not paused, "Pause the canary", "pause")
offer("unpause", paused, "Unpause the canary", "play")
offer("measure", proven and not suspended, "Measure again", "tachometer-alt")
return actions
