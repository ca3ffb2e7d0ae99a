package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const window = 1 << 30 // what the server may send without asking

// stream is a call in flight.
type stream struct {
	sent   time.Time
	left   []byte // what of the request the server's window did not yet allow
	window int64
	answer []byte
}

type caller struct {
	o       options
	framer  *http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	request []byte
	streams map[uint32]*stream
	next    uint32
	window  int64 // of the connection
	initial int64 // of a new stream
	frame   int
	spare   []*stream
}

// sendGRPC keeps one connection busy with so many calls at a time.
func sendGRPC(o options, r *recorder, slots int) (latencies []time.Duration, err error) {
	connection, err := dial(o.address)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	writer := bufio.NewWriterSize(connection, 1<<20)
	reader := bufio.NewReaderSize(connection, 1<<16)
	c := &caller{
		o: o, framer: http2.NewFramer(writer, reader), streams: map[uint32]*stream{}, next: 1,
		window: 65535, initial: 65535, frame: 16384,
	}
	c.encoder = hpack.NewEncoder(&c.headers)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.SetReuseFrames()
	c.request = binary.BigEndian.AppendUint32([]byte{0}, uint32(len(o.body)))
	c.request = append(c.request, o.body...)
	writer.WriteString(http2.ClientPreface)
	c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	c.framer.WriteWindowUpdate(0, window-65535)
	for range slots {
		c.call()
	}
	running, consumed := slots, 0
	for running > 0 {
		if reader.Buffered() == 0 {
			if err = writer.Flush(); err != nil {
				return
			}
		}
		frame, failure := c.framer.ReadFrame()
		if failure != nil {
			return latencies, failure
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			c.settings(frame)
		case *http2.PingFrame:
			if !frame.IsAck() {
				c.framer.WritePing(true, frame.Data)
			}
		case *http2.WindowUpdateFrame:
			if frame.StreamID == 0 {
				c.window += int64(frame.Increment)
				for id, call := range c.streams {
					c.send(id, call)
				}
			} else if call := c.streams[frame.StreamID]; call != nil {
				call.window += int64(frame.Increment)
				c.send(frame.StreamID, call)
			}
		case *http2.DataFrame:
			call := c.streams[frame.StreamID]
			call.answer = append(call.answer, frame.Data()...)
			if consumed += len(frame.Data()); consumed > window/2 {
				c.framer.WriteWindowUpdate(0, uint32(consumed))
				consumed = 0
			}
		case *http2.MetaHeadersFrame:
			if !frame.StreamEnded() {
				continue
			}
			call := c.streams[frame.StreamID]
			if err = check(frame, call); err != nil {
				return
			}
			delete(c.streams, frame.StreamID)
			c.spare = append(c.spare, call)
			more, failure := r.answer(call.answer[5:], call.sent, &latencies)
			if failure != nil {
				return latencies, failure
			}
			if more {
				c.call()
			} else {
				running--
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return latencies, fmt.Errorf("the server ends: %v", frame)
		}
	}
	return
}

func check(frame *http2.MetaHeadersFrame, call *stream) error {
	for _, field := range frame.Fields {
		if field.Name == "grpc-status" && field.Value == "0" && len(call.answer) >= 5 &&
			int(binary.BigEndian.Uint32(call.answer[1:5])) == len(call.answer)-5 {
			return nil
		}
	}
	return fmt.Errorf("a call failed: %v", frame.Fields)
}

func (c *caller) settings(frame *http2.SettingsFrame) {
	if frame.IsAck() {
		return
	}
	frame.ForeachSetting(func(setting http2.Setting) error {
		switch setting.ID {
		case http2.SettingInitialWindowSize:
			for _, call := range c.streams {
				call.window += int64(setting.Val) - c.initial
			}
			c.initial = int64(setting.Val)
		case http2.SettingMaxFrameSize:
			c.frame = int(setting.Val)
		}
		return nil
	})
	c.framer.WriteSettingsAck()
	for id, call := range c.streams {
		c.send(id, call)
	}
}

func (c *caller) call() {
	var call *stream
	if last := len(c.spare) - 1; last >= 0 {
		call, c.spare = c.spare[last], c.spare[:last]
	} else {
		call = &stream{}
	}
	*call = stream{sent: time.Now(), left: c.request, window: c.initial, answer: call.answer[:0]}
	id := c.next
	c.next += 2
	c.streams[id] = call
	c.headers.Reset()
	for _, field := range [...][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", c.o.path}, {":authority", c.o.address},
		{"te", "trailers"}, {"content-type", "application/grpc"}, {"user-agent", "load"},
	} {
		c.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.headers.Bytes(), EndHeaders: true,
	})
	c.send(id, call)
}

func (c *caller) send(id uint32, call *stream) {
	for len(call.left) > 0 {
		size := min(int64(len(call.left)), int64(c.frame), call.window, c.window)
		if size <= 0 {
			return
		}
		c.framer.WriteData(id, size == int64(len(call.left)), call.left[:size])
		call.left = call.left[size:]
		call.window -= size
		c.window -= size
	}
}
