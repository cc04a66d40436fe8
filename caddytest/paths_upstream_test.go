package caddytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// thePage is what no request without a session may see.
const thePage = "only for customers"

// An upstreamServer is a real server of a shop whose protected page is at a
// path. It runs until the test ends.
type upstreamServer struct {
	name      string
	protected string
	// start returns what stands behind the gateway, as Caddyfile lines.
	start func(t *testing.T, root string) (last string)
	// least is how many spellings of the path the server takes for it, at least.
	least int
}

var upstreamServers = []upstreamServer{
	{"Apache", "/account/secret.html", startApache, 60},
	{"nginx", "/account/secret.html", startNginx, 60},
	{"Node.js", "/account/secret.html", startNode, 200},
	{"PHP, a script", "/account/secret.php", startPHP, 40},
	{"PHP, a front controller", "/account", startPHP, 100},
}

// TestNoSpellingOpensAPage: without a session no way to write the path gets the
// page out of a real server, whether its folder is protected or is merely not
// among the public ones. Without the gateway many would.
func TestNoSpellingOpensAPage(t *testing.T) {
	for _, u := range upstreamServers {
		t.Run(u.name, func(t *testing.T) {
			last, direct := withoutGateway(t, u.start(t, documents(t)))
			for _, gateway := range []string{"protect /account /account/*", "public /public/* /assets/* /x/* *.css *.png"} {
				t.Run(gateway, func(t *testing.T) {
					w := start(t, setup{gateway: gateway, last: last})
					w.checkOwnCustomer(u.protected)
					for _, target := range w.opened(u.protected) {
						t.Errorf("%q opens the page without a session", target)
					}
				})
			}
			t.Run("no gateway", func(t *testing.T) {
				start(t, setup{last: last})
				open := (&world{t: t, addr: direct}).opened(u.protected)
				t.Logf("%d of %d spellings open the page", len(open), len(attack.Paths(u.protected)))
				if len(open) < u.least {
					t.Errorf("want %d at least: %q", u.least, open)
				}
			})
		})
	}
}

// checkOwnCustomer: the page is there, for who is signed in.
func (w *world) checkOwnCustomer(path string) {
	w.t.Helper()
	b := w.browser()
	b.signIn(w, jane)
	if r := b.open(path); !strings.Contains(r.body, thePage) {
		w.t.Errorf("a customer does not get %s: %d %q", path, r.status, r.body)
	}
}

// opened returns the spellings of a path that get the page, as far as
// redirects of the server lead.
func (w *world) opened(path string) (opened []string) {
	w.t.Helper()
	for _, target := range attack.Paths(path) {
		if w.gets(target, 3) {
			opened = append(opened, target)
		}
	}
	return opened
}

func (w *world) gets(target string, redirects int) bool {
	w.t.Helper()
	r := w.raw(w.head("GET "+target+" HTTP/1.1", "Accept: text/html", "Connection: close"))
	if strings.Contains(r.body, thePage) {
		return true
	}
	next := strings.TrimPrefix(r.location(), "http://"+w.addr)
	return redirects > 0 && strings.HasPrefix(next, "/") && !strings.ContainsAny(next, " \r\n") && w.gets(next, redirects-1)
}

// documents makes a shop's files.
func documents(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"account/secret.html": thePage, "account/secret.php": "<?php echo '" + thePage + "';", "index.php": frontController,
		"index.html": "shop", "public/page.html": "page", "public/x/page.html": "page", "assets/style.css": "a{}", "x/y/page.html": "page",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{root, filepath.Dir(root)} { // servers change their user
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// withoutGateway adds a site that has the same behind it, and no gateway.
func withoutGateway(t *testing.T, last string) (lines, direct string) {
	t.Helper()
	direct = freeport.Addr(t)
	return fmt.Sprintf("%s\n}\nhttp://:%s {\nbind 127.0.0.1\n%s", last, port(direct), last), direct
}

// serve runs a server's program until the test ends.
func serve(t *testing.T, packages, addr, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil { // not in everybody's PATH
			t.Fatalf("%s is needed (apt-get install %s): %v", program, packages, err)
		}
	}
	var said strings.Builder
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(os.Environ(), "PHP_FCGI_MAX_REQUESTS=0") // it would end after 500
	done, err := spawn(cmd)
	if err != nil {
		t.Fatalf("starting %s: %v", program, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	eventually(t, program+" listens", func() bool {
		select {
		case <-done:
			t.Fatalf("%s has ended: %s", program, said.String())
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func configFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// startApache runs it as lenient as it can be configured.
func startApache(t *testing.T, root string) string {
	t.Helper()
	addr := freeport.Addr(t)
	config := fmt.Sprintf(`
		LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
		LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
		LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
		LoadModule negotiation_module /usr/lib/apache2/modules/mod_negotiation.so
		LoadModule speling_module /usr/lib/apache2/modules/mod_speling.so
		Listen %[1]s
		ServerName shop.example
		ServerRoot %[3]s
		PidFile %[3]s/pid
		DefaultRuntimeDir %[3]s
		ErrorLog %[3]s/log
		User www-data
		Group www-data
		TypesConfig /dev/null
		AddType text/html .html
		HttpProtocolOptions Unsafe
		AllowEncodedSlashes On
		AcceptPathInfo On
		CheckSpelling On
		DocumentRoot %[2]s
		<Directory %[2]s>
			Options +MultiViews
			Require all granted
		</Directory>
	`, addr, root, t.TempDir())
	serve(t, "apache2-bin", addr, "apache2", "-X", "-f", configFile(t, "apache.conf", config))
	return "reverse_proxy " + addr
}

func startNginx(t *testing.T, root string) string {
	t.Helper()
	return "reverse_proxy " + serveNginx(t, "", "root "+root+";")
}

// serveNginx runs it with more directives for all servers, and those of one.
func serveNginx(t *testing.T, more, server string) (addr string) {
	t.Helper()
	addr = freeport.Addr(t)
	config := fmt.Sprintf(`
		daemon off;
		master_process off;
		pid %[2]s/pid;
		error_log %[2]s/log;
		events {}
		http {
			access_log off;
			client_body_temp_path %[2]s;
			proxy_temp_path %[2]s;
			fastcgi_temp_path %[2]s;
			uwsgi_temp_path %[2]s;
			scgi_temp_path %[2]s;
			%[3]s
			server {
				listen %[1]s;
				%[4]s
			}
		}
	`, addr, t.TempDir(), more, server)
	serve(t, "nginx-light", addr, "nginx", "-c", configFile(t, "nginx.conf", config), "-e", "stderr")
	return addr
}

// startNode runs a shop that is as easy on spellings as a servlet container,
// Windows and a decoding proxy together.
func startNode(t *testing.T, root string) string {
	t.Helper()
	addr := freeport.Addr(t)
	serve(t, "nodejs", addr, "node", configFile(t, "shop.mjs", nodeShop), port(addr), root)
	return "reverse_proxy " + addr
}

const nodeShop = `
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { posix } from 'node:path';

const [port, root] = process.argv.slice(2);

function decode(path) {
  try {
    return decodeURIComponent(path.replace(/%u([0-9a-f]{4})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))));
  } catch {
    return path;
  }
}

function file(target) {
  let path = decode(decode(new URL(target, 'http://localhost').pathname)).normalize('NFKC').replaceAll('\\', '/');
  path = path.split(/[\0?#]/)[0].replace(/;[^/]*/g, '').replace(/[. ]+(?=\/|$)/g, (end) => (/^\.\.?$/.test(end) ? end : ''));
  return posix.normalize(path).replace(/(::\$data)?\/?$/i, '').toLowerCase();
}

createServer((req, res) => {
  try {
    res.end(readFileSync(root + file(req.url)));
  } catch {
    res.writeHead(404).end('no such page');
  }
}).listen(port, '127.0.0.1');
`

// startPHP runs PHP-CGI behind Caddy.
func startPHP(t *testing.T, root string) string {
	t.Helper()
	addr := freeport.Addr(t)
	serve(t, "php-cgi", addr, "php-cgi", "-b", addr)
	return fmt.Sprintf("root %q\nphp_fastcgi %s", root, addr)
}

// frontController finds pages as many shops do: by the request target, decoded,
// without parameters, in lower case; or by what follows the script's name.
const frontController = `<?php
$path = $_SERVER['PATH_INFO'] ?? '';
if ($path === '') {
	$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/';
}
$path = strtolower(rtrim(preg_replace(['~\\\\~', '~;[^/]*~', '~/+~'], ['/', '', '/'], rawurldecode($path)), "/ \t\n\r\0."));
while (($shorter = preg_replace(['~/\.(?=/|$)~', '~/(?!\.\./)[^/]+/\.\.(?=/|$)~', '~^(/\.\.)+(?=/|$)~'], '', $path)) !== $path) {
	$path = $shorter;
}
$path = preg_replace('~^/index\.php(?=/)~', '', $path);
echo $path === '/account' ? '` + thePage + `' : 'shop';
`
