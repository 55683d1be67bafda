//! Names and Services as pods see them.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::command::eventually;
use crate::workloads::fetch;

const WORLD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  hostname: web-0
  subdomain: headless
  containers:
  - name: web
    image: mainstay-hello:1
    imagePullPolicy: Never
    command: ["sh", "-c", "echo the page > /www/index.html; exec httpd -f -p 8080 -h /www"]
    ports: [{containerPort: 8080, hostPort: 18080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: asks}
spec:
  containers:
  - {name: asks, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sleep", "3600"]}
"#;

#[test]
fn pods_find_services_by_name_and_the_host_reaches_them() {
    let cluster = Cluster::start();
    cluster.apply(WORLD);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s"]).ok();
    let get = |what: &[&str]| cluster.kubectl(&[&["get"], what].concat()).ok();
    let service_ip = get(&["service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let pod_ip = get(&["pod", "web", "-o", "jsonpath={.status.podIP}"]);
    let node_port: u16 =
        get(&["service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"]).parse().unwrap();
    let node_ip =
        get(&["nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"]);

    for (name, ip) in [
        ("web", &service_ip),
        ("web.default.svc.cluster.local", &service_ip),
        ("headless", &pod_ip),
        ("web-0.headless.default.svc.cluster.local", &pod_ip),
    ] {
        let found = eventually(Duration::from_secs(15), || {
            let answer = cluster.kubectl(&["exec", "asks", "--", "nslookup", name]);
            answer.stdout.contains(ip.as_str()).then_some(())
        });
        assert!(found.is_some(), "{name} does not lead to {ip}");
    }
    let from_pod = cluster
        .kubectl(&[
            "exec",
            "asks",
            "--",
            "sh",
            "-c",
            "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc web 80",
        ])
        .ok();
    assert!(from_pod.contains("the page"), "{from_pod}");
    for (host, port) in [(&service_ip, 80), (&pod_ip, 8080), (&node_ip, node_port), (&node_ip, 18080)] {
        let page = eventually(Duration::from_secs(10), || fetch(host, port));
        assert!(page.is_some_and(|page| page.contains("the page")), "{host}:{port}");
    }
    // Without endpoints a Service refuses at once instead of letting clients wait.
    cluster.kubectl(&["delete", "pod", "web", "--grace-period=1"]).ok();
    let refused = eventually(Duration::from_secs(10), || {
        let address = format!("{service_ip}:80").parse().unwrap();
        let error = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).err()?;
        (error.kind() != std::io::ErrorKind::TimedOut).then_some(())
    });
    assert!(refused.is_some());
}
