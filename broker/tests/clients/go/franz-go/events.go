package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// event is a line of a journal, see harness/journal.go.
type event struct {
	at         int64
	word       string
	generation int32
	member     string
	partitions []int32
	// of take: first and last; of ok and seen: the offset
	first, last int64
}

// unknownMember is in the place of an id.
const unknownMember = "-"

func parseEvent(text string) (event, error) {
	var e event
	words := strings.Split(text, " ")
	numbers := make([]int64, len(words))
	for i, word := range words {
		numbers[i], _ = strconv.ParseInt(word, 10, 64)
	}
	if len(words) < 3 {
		return e, fmt.Errorf("what is %q", text)
	}
	e.at, e.word = numbers[0], words[1]
	partitions := words[2]
	switch {
	case e.word == "assigned" && len(words) >= 5:
		last := len(words) - 1
		// kafka-go has ids with spaces.
		e.generation, e.member, partitions = int32(numbers[2]), strings.Join(words[3:last], " "), words[last]
	case (e.word == "revoked" || e.word == "lost") && len(words) == 3:
	case e.word == "take" && len(words) == 5:
		e.first, e.last = numbers[3], numbers[4]
	case (e.word == "ok" || e.word == "seen") && len(words) == 4:
		e.first = numbers[3]
	default:
		return e, fmt.Errorf("what is %q", text)
	}
	for _, word := range strings.Split(partitions, ",") {
		if word == "" {
			continue
		}
		p, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			return e, fmt.Errorf("what is %q: %w", text, err)
		}
		e.partitions = append(e.partitions, int32(p))
	}
	return e, nil
}

// What kcat says beside the lines it is told to write: whom it gives up, and nothing about why, or when.
var (
	kcatRebalances = regexp.MustCompile(`^% Group \S+ rebalanced \(memberid (\S*)\): (assigned|revoked): (.*)$`)
	kcatPartition  = regexp.MustCompile(`\[(\d+)\]`)
)

// parseKcat gives nothing of what says nothing about partitions.
func parseKcat(text string) (out []event) {
	said := kcatRebalances.FindStringSubmatch(text)
	if said == nil {
		return nil
	}
	e := event{word: "lost", generation: -1, member: said[1]}
	if said[2] == "assigned" {
		e.word = "assigned"
	}
	for _, found := range kcatPartition.FindAllStringSubmatch(said[3], -1) {
		p, _ := strconv.ParseInt(found[1], 10, 32)
		e.partitions = append(e.partitions, int32(p))
	}
	return []event{e}
}

func readJournal(path string) ([]event, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []event
	lines := strings.Split(string(bytes), "\n")
	// Behind the last line is nothing, or what kcat was killed in.
	for _, line := range lines[:len(lines)-1] {
		if strings.HasPrefix(line, "%") {
			out = append(out, parseKcat(line)...)
			continue
		}
		e, err := parseEvent(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, e)
	}
	return out, nil
}
