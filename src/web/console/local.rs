//! Keeps other sites out of a console without a password. A name that somebody points at this machine (DNS
//! rebinding) has another Host; a page elsewhere that fetches or frames says so in `Sec-Fetch-Site`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::web::error::Problem;

pub(super) async fn only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !is_loopback(headers) {
        return Problem::Forbidden("This is open only to a loopback name or address.").into_response();
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Problem::Forbidden("Another site asked for this.").into_response();
    }
    next.run(request).await
}

fn is_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_host_is_let_in() {
        let asked = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_loopback(&headers)
        };
        for host in ["localhost:8025", "LOCALHOST", "127.0.0.1:8025", "127.9.9.9", "[::1]:8025"] {
            assert!(asked(host), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]"]
        {
            assert!(!asked(host), "{host}");
        }
        assert!(!is_loopback(&HeaderMap::new()));
        let two: HeaderMap = [(header::HOST, "localhost"), (header::HOST, "evil.example")].into_iter().fold(
            HeaderMap::new(),
            |mut all, (name, host)| {
                all.append(name, host.parse().unwrap());
                all
            },
        );
        assert!(!is_loopback(&two));
    }
}
