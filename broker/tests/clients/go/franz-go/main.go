// Command franz-go drives a broker through franz-go and kadm (see the harness package); beside the
// matrix it has
//
//	franz-go --bootstrap HOST:PORT --prefix NAME consumers         the cases of groups, by the newer protocol
//	franz-go --bootstrap HOST:PORT --prefix NAME survive           the same for a broker that is killed
//	franz-go --bootstrap HOST:PORT --prefix NAME dataset LIST MB   real text, line by line, hashed per key
//	franz-go --bootstrap HOST:PORT --prefix NAME ledger FILE       produce until stdin closes, note every ack
//	franz-go --bootstrap HOST:PORT verify FILE...                  compare ledgers with what the broker holds
//	franz-go --bootstrap HOST:PORT --prefix NAME uis               what web consoles and monitors ask
//	franz-go --bootstrap HOST:PORT flow|member|observe|audit ...   a restless group, see restless.go
package main

import (
	"errors"

	"tidewheel.invalid/clients/harness"
)

// world is the harness's, with the library where it is needed itself.
type world struct {
	*harness.World
	client *client
}

func with(w *harness.World) *world {
	own, _ := w.Client.(*client)
	return &world{w, own}
}

func main() {
	harness.Main(
		func(bootstrap string) (harness.Client, error) { return open(bootstrap) },
		func(w *harness.World) []harness.Case { return ownCases(with(w)) },
		map[string]harness.Mode{
			"dataset": func(w *harness.World, args []string) (bool, error) {
				return harness.RunCases(datasetCases(with(w), args)), nil
			},
			"ledger":  func(w *harness.World, args []string) (bool, error) { return runLedger(with(w), args) },
			"flow":    func(w *harness.World, args []string) (bool, error) { return runFlow(with(w), args) },
			"member":  func(w *harness.World, args []string) (bool, error) { return runRestless(with(w), args) },
			"observe": func(w *harness.World, args []string) (bool, error) { return runObserver(with(w), args) },
			"audit": func(w *harness.World, args []string) (bool, error) {
				cases, err := auditCases(with(w), args)
				return err == nil && harness.RunCases(cases), err
			},
			"consumers": func(w *harness.World, _ []string) (bool, error) {
				return harness.RunCases(harness.ConsumerCases(byNewerProtocol(w))), nil
			},
			"survive": func(w *harness.World, _ []string) (bool, error) {
				return harness.RunCases(harness.SurviveCases(byNewerProtocol(w))), nil
			},
			"uis": func(w *harness.World, _ []string) (bool, error) {
				return w.StageCases(func(s *harness.Stage) []harness.Case { return uiCases(with(w), s) })
			},
			"verify": func(w *harness.World, args []string) (bool, error) {
				if len(args) == 0 {
					return false, errors.New("verify needs FILE...")
				}
				return harness.RunCases(verifyCases(with(w), args)), nil
			},
		})
}
