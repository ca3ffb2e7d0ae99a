"""The OnnxModel API: pydantic models of spec and status, and the CRD made from them."""
