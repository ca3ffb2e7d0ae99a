package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// sendHTTP keeps one connection busy with one request at a time.
func sendHTTP(o options, r *recorder, _ int) (latencies []time.Duration, err error) {
	connection, err := dial(o.address)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	var request bytes.Buffer
	fmt.Fprintf(&request, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", o.path, o.address, len(o.body))
	for _, header := range o.headers {
		fmt.Fprintf(&request, "%s: %s\r\n", header[0], header[1])
	}
	request.WriteString("\r\n")
	request.Write(o.body)
	reader := bufio.NewReaderSize(connection, 1<<16)
	var body []byte
	for more := true; more && err == nil; {
		sent := time.Now()
		if _, err = connection.Write(request.Bytes()); err != nil {
			return
		}
		if body, err = readAnswer(reader, body, r); err != nil {
			return
		}
		more, err = r.answer(body, sent, &latencies)
	}
	return
}

func readAnswer(reader *bufio.Reader, body []byte, r *recorder) ([]byte, error) {
	status, length, head, chunked := "", -1, 0, false
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		text := bytes.TrimRight(line, "\r\n")
		if status == "" {
			status = string(text)
			continue
		}
		if len(text) == 0 {
			break
		}
		name, value, _ := bytes.Cut(text, []byte(":"))
		switch {
		case equal(name, "content-length"):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		case equal(name, "transfer-encoding"):
			chunked = true
		case equal(name, "inference-header-content-length"):
			head, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case chunked:
		var err error
		if body, err = readChunks(reader, body[:0]); err != nil {
			return nil, err
		}
	case length >= 0:
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(reader, body); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("an answer without a length: %s", status)
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200") {
		return nil, fmt.Errorf("%s: %s", status, body)
	}
	if r.first == nil {
		r.mutex.Lock()
		r.head = head
		r.mutex.Unlock()
	}
	return body, nil
}

func readChunks(reader *bufio.Reader, body []byte) ([]byte, error) {
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return nil, err
		}
		begin := len(body)
		body = append(body, make([]byte, size+2)...) // and the line's end
		if _, err := io.ReadFull(reader, body[begin:]); err != nil {
			return nil, err
		}
		body = body[:begin+int(size)]
		if size == 0 {
			return body, nil
		}
	}
}

func equal(name []byte, lower string) bool {
	return len(name) == len(lower) && strings.EqualFold(string(name), lower)
}
