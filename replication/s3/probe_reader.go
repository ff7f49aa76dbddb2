package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http"
	"time"
)

// readerSees reports what the reader may read: objects, versions, listings, and how the bucket protects them.
func (p *prober) readerSees() {
	got, err := p.read("-canary", "")
	if err == nil && !bytes.Equal(got, canary) {
		err = errors.New("the object has other bytes than were put")
	}
	p.mustWork("read an object", err)
	vs, err := p.reader.Versions(p.ctx, p.prefix+"-canary")
	if err == nil && len(vs) == 0 {
		err = errors.New("the object is missing")
	}
	p.mustWork("list versions", err)
	found := false
	for o, e := range p.reader.List(p.ctx, p.prefix+"-canary", "") {
		found, err = found || o.Key == p.prefix+"-canary", e
	}
	if err == nil && !found {
		err = errors.New("the object is missing")
	}
	p.mustWork("list", err)
	p.seeVersioning()
	p.seeRetention()
	p.seeOwner()
}

// locked judges what keeps an administrator of the bucket from erasing objects.
func (p *prober) locked() {
	r := p.report.Retention
	switch {
	case r.Mode == "COMPLIANCE":
		p.add("bucket", "objects are locked", Allowed, Good, r.String())
	case r.Mode != "":
		p.add("bucket", "objects are locked", Allowed, Warning, r.String()+": whoever may bypass it can delete")
	case p.finding("overwrite") == Refused:
		p.add("bucket", "objects are locked", Allowed, Good, "no lock rule, but objects are write-once")
	default:
		p.add("bucket", "objects are locked", Unclear, Warning, "no default lock rule was seen: set one in COMPLIANCE mode")
	}
}

// finding returns what was found out about the writer.
func (p *prober) finding(what string) Finding {
	for _, c := range p.report.Checks {
		if c.Who == "writer" && c.What == what {
			return c.Finding
		}
	}
	return Unclear
}

func (p *prober) mustWork(what string, err error) {
	if err != nil {
		p.add("reader", what, findingOf(err), Danger, text(err))
		return
	}
	p.add("reader", what, Allowed, Good, "")
}

// see reads a setting of the bucket into out.
func (p *prober) see(query string, out any) (rawAnswer, error) {
	a, err := p.reader.raw(p.ctx, rawRequest{method: "GET", query: arg(query, "")})
	if err == nil && a.status != http.StatusOK {
		err = errors.New(p.reader.describe(a))
	}
	if err == nil {
		err = xml.Unmarshal(a.body, out)
	}
	return a, err
}

func (p *prober) seeVersioning() {
	var v struct{ Status string }
	if _, err := p.see("versioning", &v); err == nil {
		p.report.Versioning = p.reader.clean(v.Status)
	}
}

func (p *prober) seeRetention() {
	a, err := p.reader.raw(p.ctx, rawRequest{method: "HEAD", key: p.prefix + "-canary"})
	if mode := a.header.Get("X-Amz-Object-Lock-Mode"); err == nil && mode != "" {
		until, _ := time.Parse(time.RFC3339, a.header.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		p.report.Retention = Retention{Mode: p.reader.clean(mode), Until: until, Source: "object"}
		return
	}
	var rule struct {
		Rule struct {
			DefaultRetention struct {
				Mode        string
				Days, Years int
			}
		}
	}
	if _, err := p.see("object-lock", &rule); err == nil && rule.Rule.DefaultRetention.Mode != "" {
		d := rule.Rule.DefaultRetention
		p.report.Retention = Retention{Mode: p.reader.clean(d.Mode), Days: d.Days + 365*d.Years, Source: "bucket"}
	}
}

func (p *prober) seeOwner() {
	var acl struct{ Owner struct{ ID string } }
	if _, err := p.see("acl", &acl); err == nil && acl.Owner.ID != "" {
		p.report.Owner = p.reader.clean(acl.Owner.ID)
		return
	}
	a, err := p.reader.raw(p.ctx, rawRequest{method: "GET", query: arg("list-type", "2", "fetch-owner", "true",
		"prefix", p.prefix+"-canary", "max-keys", "1")})
	var list struct {
		Contents []struct{ Owner struct{ ID string } }
	}
	if err == nil && a.status == http.StatusOK && xml.Unmarshal(a.body, &list) == nil && len(list.Contents) > 0 {
		p.report.Owner = p.reader.clean(list.Contents[0].Owner.ID)
	}
}
