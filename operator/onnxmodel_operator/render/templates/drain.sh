# The preStop of a Triton pod: it ends when nobody asks any more. Until then the server answers as ever.
# Arguments: the port of the metrics; the least seconds; how many seconds nobody may have asked; the most seconds.
port=$1 least=$2 quiet=$3 most=$4

# Triton's own counters. Bash asks, since an image need not have curl.
counters() {
  { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return
  printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
  while IFS= read -t 3 -r line <&3; do
    case $line in
      nv_inference_request_success{* | nv_inference_request_failure{* | nv_inference_pending_request_count{*)
        printf '%s\n' "$line" ;;
    esac
  done
  exec 3>&-
}

# Until endpoints have forgotten the pod, and every gRPC connection has reached its greatest age.
sleep "$least"
before=$(counters) still=0
while ((SECONDS < most && still < quiet)); do
  sleep 1
  now=$(counters)
  if [[ $now == "$before" ]]; then ((still += 1)); else still=0; fi
  before=$now
done
