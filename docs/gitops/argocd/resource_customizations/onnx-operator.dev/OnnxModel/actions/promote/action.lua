-- Each new value is followed once, and no two states of the model have the same resourceVersion.
if obj.metadata.annotations == nil then obj.metadata.annotations = {} end
obj.metadata.annotations["onnx-operator.dev/promote"] = obj.metadata.resourceVersion
return obj
