package object_test

import (
	"testing"

	"holdfast/storage/object"
)

func TestParseID(t *testing.T) {
	for _, s := range []string{
		"4b825dc642cb6eb9a060e54bf8d69288fbee4904", "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
		"00000000000000000000000000000000000000ff",
	} {
		id, err := object.ParseID(s)
		if err != nil || id.String() != s || id.IsZero() || object.NewID(id.Format(), id.Bytes()) != id {
			t.Errorf("ParseID(%q) = %s, %v", s, id, err)
		}
		text, _ := id.MarshalText()
		var back object.ID
		if err := back.UnmarshalText(text); err != nil || back != id {
			t.Errorf("%s does not survive being encoded (%v)", s, err)
		}
	}
	for _, s := range []string{"", "4b825d", "4b825dc642cb6eb9a060e54bf8d69288fbee490x"} {
		if id, err := object.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %s", s, id)
		}
	}
	zero, err := object.ParseID("0000000000000000000000000000000000000000")
	if err != nil || zero != (object.ID{}) || zero.Bytes() != nil {
		t.Errorf("all digits zero give %v, %v", zero, err)
	}
	if got := zero.Hex(object.SHA256); len(got) != 64 {
		t.Errorf("the zero id of SHA-256 is written %q", got)
	}
}

func TestCompare(t *testing.T) {
	a, _ := object.ParseID("0000000000000000000000000000000000000001")
	b, _ := object.ParseID("ff00000000000000000000000000000000000000")
	if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 || (object.ID{}).Compare(a) >= 0 {
		t.Error("ids are not ordered by their bytes")
	}
	if b.Prefix16() != 0xff00 {
		t.Errorf("Prefix16 = %#x", b.Prefix16())
	}
}
