/* A backend for a real tritonserver that adds a tensor to itself: the least that a request can cost in Triton, in C
 * and without any runtime. The declarations are those of Triton's backend API that it uses. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Error Error;
typedef struct Request Request;
typedef struct Response Response;
typedef struct Input Input;
typedef struct Output Output;
typedef struct Instance Instance;

enum { FP32 = 11, CPU = 0, FINAL = 1, ALL = 1 };

Error* TRITONBACKEND_RequestInputByIndex(Request*, uint32_t, Input**);
Error* TRITONBACKEND_RequestRelease(Request*, uint32_t);
Error* TRITONBACKEND_InputProperties(
    Input*, const char**, int*, const int64_t**, uint32_t*, uint64_t*, uint32_t*);
Error* TRITONBACKEND_InputBuffer(Input*, uint32_t, const void**, uint64_t*, int*, int64_t*);
Error* TRITONBACKEND_ResponseNew(Response**, Request*);
Error* TRITONBACKEND_ResponseOutput(Response*, Output**, const char*, int, const int64_t*, uint32_t);
Error* TRITONBACKEND_OutputBuffer(Output*, void**, uint64_t, int*, int64_t*);
Error* TRITONBACKEND_ResponseSend(Response*, uint32_t, Error*);

Error* TRITONBACKEND_ModelInstanceExecute(Instance* instance, Request** requests, const uint32_t count) {
  for (uint32_t at = 0; at < count; at++) {
    Input* input;
    Output* output;
    Response* response;
    const int64_t* shape;
    const void* x;
    void* y;
    uint32_t rank, buffers;
    uint64_t size, part;
    int kind = CPU;
    int64_t device = 0;
    Error* error = TRITONBACKEND_ResponseNew(&response, requests[at]);
    if (error) return error;
    if (!(error = TRITONBACKEND_RequestInputByIndex(requests[at], 0, &input)) &&
        !(error = TRITONBACKEND_InputProperties(input, NULL, NULL, &shape, &rank, &size, &buffers)) &&
        !(error = TRITONBACKEND_InputBuffer(input, 0, &x, &part, &kind, &device)) &&
        !(error = TRITONBACKEND_ResponseOutput(response, &output, "y", FP32, shape, rank)) &&
        !(error = TRITONBACKEND_OutputBuffer(output, &y, size, &kind, &device))) {
      for (uint64_t element = 0; element < part / sizeof(float); element++)
        ((float*)y)[element] = ((const float*)x)[element] + ((const float*)x)[element];
    }
    TRITONBACKEND_ResponseSend(response, FINAL, error);
    TRITONBACKEND_RequestRelease(requests[at], ALL);
  }
  return NULL;
}
