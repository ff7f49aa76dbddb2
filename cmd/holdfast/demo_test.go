package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A claim that did not hold must show, and must fail the command, whatever the form of the report.
func TestDemoConclusion(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		for _, held := range []bool{true, false} {
			var out bytes.Buffer
			d := &demo{a: &app{Stdout: &out, json: asJSON}}
			d.report.Stages = []stage{{"build", "a host", 1.25, 3 << 20}}
			d.claim(true, "water is wet", "%d drops", 3)
			d.claim(held, "nothing was lost", "it is %v", held)
			d.report.Attempts = []verdict{{"east", "delete an object", "204", held}}
			err := d.conclude()
			if errors.Is(err, errSilent) == held || (err == nil) != held {
				t.Errorf("held %v: error %v", held, err)
			}
			if asJSON {
				var r demoReport
				if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.OK != held || len(r.Claims) != 2 {
					t.Errorf("held %v: %v, %+v", held, err, r)
				}
				continue
			}
			if strings.Contains(out.String(), "NOT") == held || !strings.Contains(out.String(), "3.0 MiB") {
				t.Errorf("held %v:\n%s", held, out.String())
			}
		}
	}
}

// The signature of AWS's own published example (Signature Version 4, "GET Object", the part without extra headers is
// derived the same way): the attacker's requests must be right, or a refusal would prove nothing.
func TestAttackerSigns(t *testing.T) {
	at := attacker{accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	req, err := http.NewRequest("GET", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", nil)
	if err != nil {
		t.Fatal(err)
	}
	at.sign(req, "", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	const want = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
	if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+want) {
		t.Errorf("got %s, want the signature %s", got, want)
	}
}

func TestSnapshotComparison(t *testing.T) {
	base := func() snapshot {
		return snapshot{
			refs:    map[string]map[string]string{"a": {"refs/heads/main": "1"}},
			objects: map[string]map[string]string{"a": {"1": "commit 10"}},
			users:   map[string]string{"alice": "x", "bob": "y"},
			repos:   map[string]string{"a": "1", "b": "2", "c": "3"},
			hostKey: "key",
		}
	}
	for name, spoil := range map[string]func(*snapshot){
		"":              func(*snapshot) {},
		"ref moved":     func(s *snapshot) { s.refs["a"]["refs/heads/main"] = "2" },
		"ref lost":      func(s *snapshot) { delete(s.refs["a"], "refs/heads/main") },
		"ref more":      func(s *snapshot) { s.refs["a"]["refs/heads/x"] = "2" },
		"object lost":   func(s *snapshot) { delete(s.objects["a"], "1") },
		"object other":  func(s *snapshot) { s.objects["a"]["1"] = "commit 11" },
		"user lost":     func(s *snapshot) { delete(s.users, "bob") },
		"user changed":  func(s *snapshot) { s.users["bob"] = "z" },
		"grants":        func(s *snapshot) { s.repos["a"] = "9" },
		"other host":    func(s *snapshot) { s.hostKey = "other" },
		"all gone":      func(s *snapshot) { *s = snapshot{} },
		"repository no": func(s *snapshot) { delete(s.refs, "a") },
	} {
		after := base()
		spoil(&after)
		d := &demo{before: base()}
		d.compareWith(after)
		held := true
		for _, c := range d.report.Claims {
			held = held && c.Held
		}
		if held != (name == "") {
			t.Errorf("%q: all claims held: %v", name, held)
		}
	}
}
