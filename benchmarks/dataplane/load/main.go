// load sends one request again and again, from a number of slots that each wait for their answer, over HTTP/1.1 or gRPC.
//
// It is made to cost less than any server: canned requests, one goroutine per connection, no client library. Every
// answer must be the same bytes as the first one, which is saved for whoever started this to check.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type options struct {
	address, path string
	headers       [][2]string
	body          []byte
	slots         int
}

// recorder takes the latencies of the requests that end within the window.
type recorder struct {
	mutex       sync.Mutex
	first       []byte
	head        int // length of the JSON part of an answer over HTTP
	latencies   []time.Duration
	begin, over time.Time
}

// answer checks one answer and says whether to go on.
func (r *recorder) answer(body []byte, sent time.Time, latencies *[]time.Duration) (bool, error) {
	now := time.Now()
	if r.first == nil {
		r.mutex.Lock()
		if r.first == nil {
			r.first = bytes.Clone(body)
		}
		r.mutex.Unlock()
	}
	if !bytes.Equal(r.first, body) {
		return false, fmt.Errorf("an answer differs from the first one: %q", body[:min(len(body), 500)])
	}
	if now.After(r.begin) && now.Before(r.over) {
		*latencies = append(*latencies, now.Sub(sent))
	}
	return now.Before(r.over), nil
}

type client func(o options, r *recorder, slots int) ([]time.Duration, error)

type result struct {
	Count       int     `json:"count"`
	Seconds     float64 `json:"seconds"`
	P50         float64 `json:"p50"`
	P99         float64 `json:"p99"`
	ServerCPU   float64 `json:"server_cpu"`
	ClientCPU   float64 `json:"client_cpu"`
	Connections int     `json:"connections"`
	Head        int     `json:"head"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	protocol := flag.String("protocol", "http", "http or grpc")
	address := flag.String("address", "", "host:port")
	path := flag.String("path", "/", "path of the request")
	body := flag.String("body", "", "file with the request's body; for gRPC, the message")
	save := flag.String("save", "", "file that gets the first answer's body; for gRPC, the message")
	headers := flag.String("headers", "", "name=value, separated by commas")
	slots := flag.Int("concurrency", 1, "requests at one time")
	shared := flag.Int("shared", 1, "slots that share a connection (gRPC)")
	warm := flag.Duration("warm", time.Second, "time before the window")
	window := flag.Duration("window", 5*time.Second, "time that is measured")
	pids := flag.String("pids", "", "the server's processes, separated by commas: their CPU time is measured")
	flag.Parse()

	data, err := os.ReadFile(*body)
	if err != nil {
		return err
	}
	o := options{address: *address, path: *path, body: data, slots: *slots}
	for _, pair := range strings.Split(*headers, ",") {
		if name, value, found := strings.Cut(pair, "="); found {
			o.headers = append(o.headers, [2]string{name, value})
		}
	}
	send := client(sendHTTP)
	if *protocol == "grpc" {
		send = sendGRPC
	} else {
		*shared = 1
	}

	begin := time.Now().Add(*warm)
	r := &recorder{begin: begin, over: begin.Add(*window)}
	connections := (*slots + *shared - 1) / *shared
	failures := make(chan error, connections)
	for n := range connections {
		go func() {
			latencies, err := send(o, r, *slots/connections+b2i(n < *slots%connections))
			r.mutex.Lock()
			r.latencies = append(r.latencies, latencies...)
			r.mutex.Unlock()
			failures <- err
		}()
	}
	time.Sleep(time.Until(r.begin))
	before, own := cpu(*pids), self()
	time.Sleep(time.Until(r.over))
	after, mine := cpu(*pids), self()
	for range connections {
		if err := <-failures; err != nil {
			return err
		}
	}
	slices.Sort(r.latencies)
	at := func(share float64) float64 {
		if len(r.latencies) == 0 {
			return 0
		}
		return r.latencies[min(len(r.latencies)-1, int(share*float64(len(r.latencies))))].Seconds()
	}
	if *save != "" {
		if err := os.WriteFile(*save, r.first, 0o600); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(result{
		len(r.latencies), window.Seconds(), at(0.5), at(0.99), after - before, mine - own, connections, r.head,
	})
}

func b2i(value bool) int {
	if value {
		return 1
	}
	return 0
}

func dial(address string) (net.Conn, error) {
	return net.DialTimeout("tcp", address, 10*time.Second)
}

// cpu is the time in seconds that processes have used, with all their threads.
func cpu(pids string) float64 {
	total := 0.0
	for _, pid := range strings.Split(pids, ",") {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, field := range fields[11:13] { // utime and stime, in ticks of a hundredth of a second
			ticks, _ := strconv.ParseFloat(field, 64)
			total += ticks / 100
		}
	}
	return total
}

func self() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
