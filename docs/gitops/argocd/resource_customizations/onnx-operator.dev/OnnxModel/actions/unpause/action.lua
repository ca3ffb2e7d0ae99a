-- Not removed: only "true" pauses, and a table that becomes empty would come back as a list.
if obj.metadata.annotations == nil then obj.metadata.annotations = {} end
obj.metadata.annotations["onnx-operator.dev/pause"] = "false"
return obj
