if obj.metadata.annotations == nil then obj.metadata.annotations = {} end
obj.metadata.annotations["onnx-operator.dev/pause"] = "true"
return obj
