package gitproto

import "slices"

// bundles returns what the Fetcher knows of.
func (u *uploadPack) bundles() []Bundle {
	if b, ok := u.f.(Bundler); ok {
		return b.Bundles()
	}
	return nil
}

// bundleURI lists bundles, as configuration in git's bundle.* namespace. They belong together; where all have creation
// tokens, a client can tell which of them it lacks.
func (u *uploadPack) bundleURI() error {
	err := u.args("bundle-uri", func(arg string) error { return violation("unexpected argument of bundle-uri: %.100q", arg) })
	if err != nil {
		return err
	}
	bundles := u.bundles()
	u.w.Linef("bundle.version=1")
	u.w.Linef("bundle.mode=all")
	if !slices.ContainsFunc(bundles, func(b Bundle) bool { return b.CreationToken == 0 }) {
		u.w.Linef("bundle.heuristic=creationToken")
	}
	for _, b := range bundles {
		u.w.Linef("bundle.%s.uri=%s", b.ID, b.URI)
		if b.CreationToken > 0 {
			u.w.Linef("bundle.%s.creationToken=%d", b.ID, b.CreationToken)
		}
	}
	u.w.Special(Flush)
	return u.flush()
}
