// Command clients drives a broker through franz-go and prints one JSON line per case:
// {"case": ..., "ok": ..., "detail": ..., "ms": ...}. The runner (broker/tests/clients.rs) reads them.
//
//	clients --bootstrap HOST:PORT --prefix NAME matrix            every case
//	clients --bootstrap HOST:PORT digest TOPIC...                a hash over all each topic holds
//	clients --bootstrap HOST:PORT --prefix NAME dataset LIST MB   real text, line by line, hashed per key
//	clients --bootstrap HOST:PORT --prefix NAME ledger FILE       produce until stdin closes, note every ack
//	clients --bootstrap HOST:PORT verify FILE...                 compare ledgers with what the broker holds
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// testCase is one named check; run returns a detail for the report.
type testCase struct {
	name string
	run  func() (string, error)
}

type line struct {
	Case   string `json:"case"`
	Ok     bool   `json:"ok"`
	Detail string `json:"detail"`
	Ms     int64  `json:"ms"`
}

// report prints the line of one case and passes its success on.
func report(name, detail string, err error, started time.Time) bool {
	out := line{name, err == nil, detail, time.Since(started).Milliseconds()}
	if err != nil {
		out.Detail = err.Error()
	}
	text, _ := json.Marshal(out)
	fmt.Println(string(text))
	return err == nil
}

// runCases runs all and says whether all went well.
func runCases(cases []testCase) bool {
	ok := true
	for _, c := range cases {
		started := time.Now()
		detail, err := c.run()
		ok = report(c.name, detail, err, started) && ok
	}
	return ok
}

func run(w *world, mode string, rest []string) (bool, error) {
	switch mode {
	case "matrix":
		return runCases(matrixCases(w)), nil
	case "digest":
		return runCases(digestCases(w, rest)), nil
	case "dataset":
		return runCases(datasetCases(w, rest)), nil
	case "ledger":
		return runLedger(w, rest)
	case "verify":
		return runCases(verifyCases(w, rest)), nil
	}
	return false, errors.New("unknown mode " + mode)
}

func main() {
	bootstrap := flag.String("bootstrap", "", "HOST:PORT of the broker")
	prefix := flag.String("prefix", "t", "topics are named PREFIX-...")
	partitions := flag.Int("partitions", 3, "partitions of a topic")
	settle := flag.Bool("settle", false, "wait for the leaders of a new topic (Apache Kafka needs it)")
	flag.Parse()
	if *bootstrap == "" || flag.NArg() < 1 {
		flag.Usage()
		os.Exit(2)
	}
	w, err := newWorld(*bootstrap, *prefix, int32(*partitions), *settle)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ok, err := run(w, flag.Arg(0), flag.Args()[1:])
	w.close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}
