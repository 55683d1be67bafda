//! The dashboard's files: open to whom RBAC opens them, to be read only, and cached by the browser.

use http::Method;
use serde_json::json;

use crate::client::DEADLINE;
use crate::server::TestServer;

const BINDING: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/mainstay:dashboard";

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_served_to_whom_its_role_is_bound() {
    let server = TestServer::start().await;
    let (nobody, admin) = (server.anonymous(), server.admin());
    for path in ["/ui", "/ui/"] {
        let page = nobody.get(path).await;
        assert_eq!((page.code, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(!page.header("audit-id").is_empty(), "it passes what every request passes");
    }
    let page = String::from_utf8(nobody.get("/ui/").await.bytes.to_vec()).unwrap();
    let script =
        page.split('"').find(|part| part.rsplit_once('.').is_some_and(|(_, end)| end == "js")).unwrap();
    let script = nobody.get(script).await;
    assert_eq!((script.code, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    let tag = script.header("etag").to_owned();
    let path =
        page.split('"').find(|part| part.rsplit_once('.').is_some_and(|(_, end)| end == "js")).unwrap();
    let again = nobody.call(Method::GET, path, &[("if-none-match", &tag)], "").await;
    assert_eq!((again.code, again.bytes.len()), (304, 0));
    assert_eq!(nobody.get("/ui/assets/none.js").await.code, 404);
    assert_eq!(nobody.call(Method::POST, "/ui/", &[], "x").await.code, 403);
    assert_eq!(admin.call(Method::POST, "/ui/", &[], "x").await.code, 405);

    let signed_in = json!({"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]});
    admin.patch(BINDING, "merge", &signed_in).await.expect(200);
    let closed = async {
        while nobody.get("/ui/").await.code != 403 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, closed).await.expect("the page is still open to everybody");
    assert_eq!(server.user("jane", &[]).get("/ui/").await.code, 200);
    server.stop().await;
}
