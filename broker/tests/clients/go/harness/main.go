package harness

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// openTries make ten seconds.
const openTries = 200

// Case is one named check; Run returns a detail for the report.
type Case struct {
	Name string
	Run  func() (string, error)
}

// Mode is what a program does beside `matrix` and `digest`; it says whether all went well.
type Mode func(w *World, args []string) (bool, error)

type line struct {
	Case   string `json:"case"`
	Ok     bool   `json:"ok"`
	Detail string `json:"detail"`
	Ms     int64  `json:"ms"`
}

// Report prints the line of one case and passes its success on.
func Report(name, detail string, err error, started time.Time) bool {
	out := line{name, err == nil, detail, time.Since(started).Milliseconds()}
	if err != nil {
		out.Detail = err.Error()
	}
	text, _ := json.Marshal(out)
	fmt.Println(string(text))
	return err == nil
}

// RunCases runs all and says whether all went well.
func RunCases(cases []Case) bool {
	ok := true
	for _, c := range cases {
		started := time.Now()
		detail, err := c.Run()
		ok = Report(c.Name, detail, err, started) && ok
	}
	return ok
}

func run(w *World, more map[string]Mode, own func(w *World) []Case) (bool, error) {
	mode, rest := flag.Arg(0), flag.Args()[1:]
	switch mode {
	case "matrix":
		cases := matrixCases(w)
		if own != nil {
			cases = append(cases, own(w)...)
		}
		return RunCases(cases), nil
	case "broker":
		return RunCases(brokerCases(w)), nil
	case "groups":
		return RunCases(groupCases(w)), nil
	case "digest":
		return RunCases(digestCases(w, rest)), nil
	}
	if body, known := more[mode]; known {
		return body(w, rest)
	}
	return false, errors.New("unknown mode " + mode)
}

// Main is a whole program: it prints one JSON line per case,
// {"case": ..., "ok": ..., "detail": ..., "ms": ...}, which the runner (broker/tests/clients.rs) reads.
//
//	PROGRAM --bootstrap HOST:PORT --prefix NAME matrix      every case but those of broker and groups
//	PROGRAM --bootstrap HOST:PORT --prefix NAME broker      the cases that want the broker to themselves
//	PROGRAM --bootstrap HOST:PORT --prefix NAME groups      the cases of consumer groups
//	PROGRAM --bootstrap HOST:PORT digest TOPIC...           a hash over all each topic holds
//
// own are cases that only this library has; more are further modes. Either may be nil.
func Main(open func(bootstrap string) (Client, error), own func(w *World) []Case, more map[string]Mode) {
	bootstrap := flag.String("bootstrap", "", "HOST:PORT of the broker")
	prefix := flag.String("prefix", "t", "topics are named PREFIX-...")
	partitions := flag.Int("partitions", 3, "partitions of a topic")
	settle := flag.Bool("settle", false, "wait for the leaders of a new topic (Apache Kafka needs it)")
	flag.Parse()
	if *bootstrap == "" || flag.NArg() < 1 {
		flag.Usage()
		os.Exit(2)
	}
	client, err := open(*bootstrap)
	// Members of restless groups also come while the broker is away.
	for tries := 0; err != nil && flag.Arg(0) == "member" && tries < openTries; tries++ {
		time.Sleep(RestlessBackoff)
		client, err = open(*bootstrap)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	w := &World{client, *bootstrap, *prefix, int32(*partitions), *settle}
	ok, err := run(w, more, own)
	client.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}
