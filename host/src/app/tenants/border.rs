//! What somebody who belongs to a tenant may name. A command of this machine, a file of it, a directory of it: whoever has
//! those has the other tenants too, so they are for the platform, and for tenants that it trusts with them.

use std::net::IpAddr;

use fairlead_core::address::{AddressClass, classify};
use fairlead_core::grant::Grants;
use fairlead_core::permission::PermissionProfile;
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::remote::{ProxyChoice, Reach};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::tenant::Caller;

use super::super::App;
use super::super::shelf::is_path;

impl App {
    /// Whether somebody may name this plugin.
    pub(crate) fn may_name(&self, caller: &Caller, reference: &str) -> bool {
        self.may_use_host(caller) || !is_path(reference)
    }

    /// Whether somebody may have a server like this, which is bound to public addresses where it runs elsewhere: what its
    /// name leads to is known when it is connected to, and not before.
    ///
    /// # Errors
    /// It would reach beyond the tenant.
    pub(crate) fn keep_within(&self, caller: &Caller, spec: &mut ServerSpec) -> Result<(), Problem> {
        if self.may_use_host(caller) {
            return Ok(());
        }
        if let Some((what, pointer)) = host_wish(&spec.source) {
            return Err(refused(what).at(pointer));
        }
        if let Source::Remote(remote) = &mut spec.source {
            remote.reach = Reach::Public;
        }
        self.keep_plugins_within(caller, &spec.plugins)
    }

    /// Whether somebody may attach these.
    ///
    /// # Errors
    /// One of them is a file of this machine, or may call out to this machine or its network.
    pub(crate) fn keep_plugins_within(&self, caller: &Caller, plugins: &[AttachmentSpec]) -> Result<(), Problem> {
        if self.may_use_host(caller) {
            return Ok(());
        }
        for plugin in plugins {
            if is_path(&plugin.plugin) {
                return Err(refused(&format!("plugin `{}` is a file of this machine", plugin.name)));
            }
            // One that cannot be read is refused where it is put to use.
            if Grants::of(&plugin.grants).is_ok_and(|grants| grants.reaches_inside()) {
                return Err(refused(&format!("plugin `{}` may call this machine or its private network", plugin.name)));
            }
        }
        Ok(())
    }

    fn may_use_host(&self, caller: &Caller) -> bool {
        let Some(tenant) = &caller.tenant else { return true };
        self.tenancy.rules().tenants.get(tenant).is_some_and(|tenant| tenant.spec.host_access)
    }
}

/// What of this machine a source names, and where.
fn host_wish(source: &Source) -> Option<(&'static str, &'static str)> {
    match source {
        Source::Command { .. } => Some(("a command of this machine is not isolated", "/spec/source/kind")),
        Source::Wasm { .. } => Some(("a component is a file of this machine", "/spec/source/path")),
        Source::Remote(remote) if remote.ca_file.is_some() => {
            Some(("its certificates are a file of this machine", "/spec/source/caFile"))
        }
        Source::Remote(remote) if matches!(remote.proxy, ProxyChoice::Url { .. }) => {
            Some(("the forward proxy is chosen by the platform", "/spec/source/proxy"))
        }
        Source::Remote(remote) => is_inside(remote.host())
            .then_some(("its address is one of this machine or of its private network", "/spec/source/url")),
        Source::Image(image) => permissions(&image.permissions).or_else(|| engine(image.engine.as_deref())),
        Source::Package(package) => permissions(&package.permissions).or_else(|| engine(package.engine.as_deref())),
    }
}

/// Whether a host is, by how it is written, inside of the network of the daemon: said at once, where it can be.
fn is_inside(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => classify(address) != AddressClass::Public,
        Err(_) => host == "localhost" || host.ends_with(".localhost") || host.ends_with(".internal"),
    }
}

fn permissions(profile: &PermissionProfile) -> Option<(&'static str, &'static str)> {
    if !profile.read.is_empty() || !profile.write.is_empty() {
        return Some(("its permission profile mounts directories of this machine", "/spec/source/permissions"));
    }
    // In a network with a name stand containers of others, or the machine itself.
    let mode = profile.network.as_ref().map_or("", |network| network.mode.as_str());
    let named = !matches!(mode, "" | "none" | "bridge");
    named.then_some(("its permission profile names a network of the engine", "/spec/source/permissions/network/mode"))
}

fn engine(engine: Option<&str>) -> Option<(&'static str, &'static str)> {
    engine.map(|_| ("the container engine is chosen by the platform", "/spec/source/engine"))
}

fn refused(what: &str) -> Problem {
    Problem::new(ProblemKind::Forbidden, format!("{what}, which a tenant may not have"))
        .hint("ask the platform to create it, or to set `hostAccess` for the tenant")
}
