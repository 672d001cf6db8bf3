// A test that has a broker to itself: starts `tidewheel dev`, produces, consumes, and stops it.
//
//	go run . ../../../target/release/tidewheel
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Broker is a broker on free ports, whose data goes with it, as its port file describes it.
type Broker struct {
	Bootstrap string `json:"bootstrap"`
	DataDir   string `json:"data_dir"`
	portFile  string
	process   *exec.Cmd
	ended     chan error
}

// Start starts a broker and waits until it is ready.
func Start(ctx context.Context, binary string, arguments ...string) (*Broker, error) {
	folder, err := os.MkdirTemp("", "broker-")
	if err != nil {
		return nil, err
	}
	b := &Broker{portFile: filepath.Join(folder, "broker.json"), ended: make(chan error, 1)}
	arguments = append([]string{"dev", "--ephemeral", "--port", "0", "--port-file", b.portFile}, arguments...)
	b.process = exec.Command(binary, arguments...)
	b.process.Stderr = os.Stderr
	if err := b.process.Start(); err != nil {
		return nil, errors.Join(err, os.Remove(folder))
	}
	go func() { b.ended <- b.process.Wait() }()
	for {
		// It is never seen half-written.
		if ready, err := os.ReadFile(b.portFile); err == nil {
			if err := json.Unmarshal(ready, b); err != nil {
				return nil, errors.Join(err, b.Stop())
			}
			return b, nil
		}
		select {
		case err := <-b.ended:
			return nil, errors.Join(fmt.Errorf("the broker did not start: %v", err), os.Remove(folder))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), b.Stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop stops the broker; its data and its port file are gone then. SIGKILL would leave the data there.
func (b *Broker) Stop() error {
	// It may have ended by itself, which Wait tells.
	signalled := b.process.Process.Signal(syscall.SIGTERM)
	if signalled != nil && !errors.Is(signalled, os.ErrProcessDone) {
		return signalled
	}
	ended := <-b.ended
	for _, gone := range []string{b.portFile, b.DataDir} {
		if _, err := os.Stat(gone); gone != "" && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is still there", gone)
		}
	}
	return errors.Join(ended, os.Remove(filepath.Dir(b.portFile)))
}

func run(binary string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	broker, err := Start(ctx, binary, "--topic", "greetings:3")
	if err != nil {
		return err
	}
	return errors.Join(greet(ctx, broker), broker.Stop())
}

func greet(ctx context.Context, broker *Broker) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker.Bootstrap),
		kgo.ConsumerGroup("readers"),
		kgo.ConsumeTopics("greetings"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	const records = 10
	for n := range records {
		record := &kgo.Record{Topic: "greetings", Value: fmt.Appendf(nil, "hello %d", n)}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			return err
		}
	}
	read := make(map[string]int)
	for len(read) < records {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) { read[string(r.Value)]++ })
	}
	for value, times := range read {
		if times != 1 {
			return fmt.Errorf("%q came %d times", value, times)
		}
	}
	fmt.Printf("%d records went through %s\n", len(read), broker.Bootstrap)
	return nil
}

func main() {
	binary := "tidewheel"
	if len(os.Args) > 1 {
		binary = os.Args[1]
	}
	if err := run(binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
