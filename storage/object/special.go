package object

import (
	"bytes"
	"strings"
)

// Special is a kind of file that has a meaning for git, so that its content can attack a clone.
type Special uint8

// The special files. The values are bits.
const (
	Gitmodules    Special = 1
	Gitattributes Special = 2
)

func (s Special) name() string {
	if s == Gitmodules {
		return "gitmodules"
	}
	return "gitattributes"
}

// MaxSpecial is the size above which a special file is refused: git's limit for .gitattributes.
const MaxSpecial = 100 << 20

// maxAttributesLine is the length at which git refuses a line in .gitattributes.
const maxAttributesLine = 2048

// TooLargeSpecial returns the fault of a special file over MaxSpecial bytes.
func TooLargeSpecial(s Special) error {
	return specialFault(s.name()+"Large", "."+s.name()+" too large to parse")
}

// MissingSpecial returns the fault of a special file that cannot be read.
func MissingSpecial(s Special) error {
	return specialFault(s.name()+"Missing", "unable to read ."+s.name()+" blob")
}

func specialFault(id, detail string) error { return &FsckError{MsgID: id, Type: Blob, Detail: detail} }

// CheckSpecial checks the content of blobs that Checker.Special named. s may hold several bits. Faults are *FsckError.
func CheckSpecial(s Special, data []byte) error {
	for _, one := range []Special{Gitmodules, Gitattributes} {
		if s&one != 0 && len(data) > MaxSpecial {
			return TooLargeSpecial(one)
		}
	}
	if s&Gitmodules != 0 {
		if err := checkGitmodules(data); err != nil {
			return err
		}
	}
	if s&Gitattributes != 0 {
		return checkGitattributes(data)
	}
	return nil
}

func checkGitattributes(data []byte) error {
	data, _, _ = bytes.Cut(data, []byte{0}) // git reads it as a C string
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		if len(line) >= maxAttributesLine {
			return specialFault("gitattributesLineLength", ".gitattributes has too long lines to parse")
		}
		data = rest
	}
	return nil
}

// checkGitmodules looks for settings that would make a clone run a command or write outside of its directory. A file
// that cannot be parsed to its end is accepted (git's info gitmodulesParse), but not what precedes the fault.
func checkGitmodules(data []byte) error {
	for v := range configVars(data) {
		if v.section != "submodule" || !v.hasSub {
			continue
		}
		if !submoduleName(v.sub) {
			return specialFault("gitmodulesName", "disallowed submodule name: "+v.sub)
		}
		if !v.hasValue {
			continue
		}
		switch {
		case v.key == "url" && !submoduleURL(v.value):
			return specialFault("gitmodulesUrl", "disallowed submodule url: "+v.value)
		case v.key == "path" && strings.HasPrefix(v.value, "-"):
			return specialFault("gitmodulesPath", "disallowed submodule path: "+v.value)
		case v.key == "update" && strings.HasPrefix(v.value, "!"):
			return specialFault("gitmodulesUpdate", "disallowed submodule update setting: "+v.value)
		}
	}
	return nil
}

func isSeparator(r rune) bool { return r == '/' || r == '\\' }

func submoduleName(name string) bool {
	if name == "" {
		return false
	}
	for part := range strings.FieldsFuncSeq(name, isSeparator) {
		if part == ".." {
			return false
		}
	}
	return true
}

// submoduleURL refuses addresses that git's own submodule code was once fooled by: options, line ends smuggled into a
// credential helper, and relative ones that climb over the host.
func submoduleURL(url string) bool {
	if strings.HasPrefix(url, "-") {
		return false
	}
	if relative(url) || strings.HasPrefix(url, "git://") {
		ups, rest := climb(url)
		return !strings.Contains(percentDecode(url), "\n") &&
			!(ups > 0 && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "/")))
	}
	if u, ok := curlURL(url); ok {
		return validURL(u)
	}
	return true
}

func relative(url string) bool {
	for _, p := range []string{"./", `.\`, "../", `..\`} {
		if strings.HasPrefix(url, p) {
			return true
		}
	}
	return false
}

// climb takes the leading "./" and "../" off a relative address and counts the latter.
func climb(url string) (ups int, rest string) {
	for {
		switch {
		case strings.HasPrefix(url, "../"), strings.HasPrefix(url, `..\`):
			ups++
			url = url[3:]
		case strings.HasPrefix(url, "./"), strings.HasPrefix(url, `.\`):
			url = url[2:]
		default:
			return ups, url
		}
	}
}

// curlURL returns the address that git hands to its HTTP helper, if it does.
func curlURL(url string) (string, bool) {
	for _, scheme := range []string{"http", "https", "ftp", "ftps"} {
		if rest, ok := strings.CutPrefix(url, scheme+"::"); ok {
			return rest, true
		}
		if strings.HasPrefix(url, scheme+"://") {
			return url, true
		}
	}
	return "", false
}

// validURL is a plain reading of what git's URL normalisation refuses: no scheme, no host, a bad escape or port, a path
// that climbs over its root, a line end.
func validURL(url string) bool {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, func(r rune) bool { return !schemeChar(r) }) {
		return false
	}
	if strings.Contains(percentDecode(url), "\n") || badEscape(url) {
		return false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path := rest[:end], rest[end:]
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	return validHost(host) && staysBelowRoot(path)
}

func schemeChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("+.-", r)
}

func validHost(host string) bool {
	name, port := host, ""
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		name, port = host[:colon], host[colon+1:]
	}
	return name != "" && len(port) <= 5 && digits([]byte(port)) == len(port)
}

func staysBelowRoot(path string) bool {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	depth := 0
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch percentDecode(part) {
		case "..":
			depth--
		case ".", "":
		default:
			depth++
		}
		if depth < 0 {
			return false
		}
	}
	return true
}
