//! From what was asked for to a chain: plugins found, loaded, granted, configured, and put in their order: the platform's,
//! the tenant's, the server's own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use fairlead_core::chain::{Chain, Level, Link};
use fairlead_core::middleware::Middleware;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::plugin::{AttachmentSpec, PluginKind};
use fairlead_core::policy::{Owner, Reached, reaching};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::{ServerSpec, TOOLS_PLUGIN};
use fairlead_wasm::{AttachError, Attachment, Digest, Plugin};
use parking_lot::Mutex;
use serde_json::json;

use super::plugins::Plugins;
use super::servers::links_of;
use super::tenants::Rules;
use crate::api::types::ChainLink;
use crate::limits::CHAIN_LINKS_MAX;
use crate::text;

/// Where that is asked for.
const TOOLS_POINTER: &str = "/spec/tools";

/// `sha256:` and twelve digits.
const DIGEST_CHARS_SHOWN: usize = 19;

/// Scope of the state of a server's plugins.
pub(super) fn place(server: &ServerName) -> String {
    format!("server/{server}")
}

/// Attachments that are in use, so that all chains of one tenant share what is the same in them: its instances, its state,
/// its memory. Nothing is shared between tenants.
#[derive(Default)]
pub(super) struct Bindings {
    known: Mutex<HashMap<BindingKey, Weak<dyn Middleware>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct BindingKey {
    tenant: TenantName,
    place: String,
    digest: String,
    /// All that was asked for, as JSON.
    spec: String,
}

impl Bindings {
    fn find(&self, key: &BindingKey) -> Option<Arc<dyn Middleware>> {
        self.known.lock().get(key).and_then(Weak::upgrade)
    }

    fn keep(&self, key: BindingKey, middleware: &Arc<dyn Middleware>) {
        let mut known = self.known.lock();
        known.retain(|_, known| known.strong_count() > 0);
        known.insert(key, Arc::downgrade(middleware));
    }
}

/// One attachment in the chain of a server, before it is a link.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ingredient {
    level: Level,
    spec: AttachmentSpec,
    /// Where it stands in the request for the server; none for what the server did not ask for.
    pointer: Option<String>,
    /// What the name of the plugin stands for, where that is fixed.
    digest: Option<String>,
}

/// All that is in the chain of a server, outermost first. Two that are equal give the same chain.
pub(super) fn ingredients(rules: &Rules, key: &ServerKey, spec: &ServerSpec) -> Result<Vec<Ingredient>, Problem> {
    let fixed = |plugin: &str| rules.plugins.get(plugin).map(|record| record.spec.digest.clone());
    let mut all = Vec::new();
    for record in reaching(&rules.policies, Reached::of(key, spec)) {
        let digest = fixed(&record.spec.plugin);
        all.push(Ingredient { level: record.owner.level(), spec: record.spec.clone(), pointer: None, digest });
    }
    let tools = spec.tools_attachment().map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    if let Some(tools) = tools {
        let pointer = Some(TOOLS_POINTER.to_owned());
        all.push(Ingredient { level: Level::Server, spec: tools, pointer, digest: fixed(TOOLS_PLUGIN) });
    }
    for (at, own) in spec.plugins.iter().enumerate().filter(|(_, own)| own.kind == PluginKind::Middleware) {
        let pointer = Some(format!("/spec/plugins/{at}"));
        all.push(Ingredient { level: Level::Server, spec: own.clone(), pointer, digest: fixed(&own.plugin) });
    }
    if all.len() > CHAIN_LINKS_MAX {
        let detail = format!(
            "the chain of `{key}` would have {} plugins, those of the platform and of the tenant included; at most \
             {CHAIN_LINKS_MAX} are possible",
            all.len()
        );
        return Err(Problem::new(ProblemKind::Invalid, detail).at("/spec/plugins"));
    }
    Ok(all)
}

/// What is built for: service, or a look at what would happen, with instances and state of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    Service,
    Rehearsal { place: &'a str },
}

/// Builds chains by one set of rules. What several of them have in common is loaded once.
pub(super) struct Builder<'a> {
    pub(super) plugins: &'a Plugins,
    pub(super) bindings: &'a Bindings,
    pub(super) rules: &'a Rules,
    loaded: HashMap<String, Arc<Plugin>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(plugins: &'a Plugins, bindings: &'a Bindings, rules: &'a Rules) -> Self {
        Self { plugins, bindings, rules, loaded: HashMap::new() }
    }

    /// The chain of a server.
    pub(super) async fn build(
        &mut self,
        key: &ServerKey,
        spec: &ServerSpec,
    ) -> Result<(Arc<Chain>, Vec<ChainLink>), Problem> {
        self.vet_others(&spec.plugins).await?;
        let chain = self.build_for(Purpose::Service, key, spec).await?;
        let links = links_of(&chain);
        Ok((chain, links))
    }

    /// The chain of a server, for a purpose.
    pub(super) async fn build_for(
        &mut self,
        purpose: Purpose<'_>,
        key: &ServerKey,
        spec: &ServerSpec,
    ) -> Result<Arc<Chain>, Problem> {
        let mut links = Vec::new();
        for ingredient in ingredients(self.rules, key, spec)? {
            links.push(self.link(purpose, key, ingredient).await?);
        }
        Ok(Arc::new(Chain::new(links)))
    }

    /// A chain that somebody else has put in order.
    pub(super) async fn build_as_told(
        &mut self,
        key: &ServerKey,
        told: impl IntoIterator<Item = (Level, AttachmentSpec)>,
    ) -> Result<Arc<Chain>, Problem> {
        let mut links = Vec::new();
        for (level, spec) in told {
            let ingredient = Ingredient { level, spec, pointer: None, digest: None };
            links.push(self.link(Purpose::Service, key, ingredient).await?);
        }
        Ok(Arc::new(Chain::new(links)))
    }

    /// Makes sure that an attachment can be put to use for a tenant, whether a server has it yet or not.
    pub(super) async fn vet(
        &mut self,
        owner: &Owner,
        tenant: &TenantName,
        spec: &AttachmentSpec,
    ) -> Result<(), Problem> {
        if spec.kind != PluginKind::Middleware {
            return self.vet_other(spec).await;
        }
        let plugin = self.load(&spec.plugin).await.map_err(|problem| problem.at("/plugin"))?;
        let place = owner.place().to_owned();
        let attachment = Attachment { tenant: tenant.clone(), place, spec: spec.clone() };
        let attached = self.plugins.host.attach(&plugin, attachment).await;
        attached.map(drop).map_err(|error| not_attached(spec, &error))
    }

    /// Update policies stand beside the chain: they are checked now, and asked by whoever needs them. A registry source has more to
    /// say than an attachment can (how far it is trusted, what is taken of it, when it is read), and here nobody would ask it.
    async fn vet_others(&mut self, own: &[AttachmentSpec]) -> Result<(), Problem> {
        for (at, spec) in own.iter().enumerate().filter(|(_, own)| own.kind != PluginKind::Middleware) {
            let pointer = format!("/spec/plugins/{at}");
            self.vet_other(spec).await.map_err(|problem| below(problem, &pointer))?;
        }
        Ok(())
    }

    async fn vet_other(&mut self, spec: &AttachmentSpec) -> Result<(), Problem> {
        let plugin = self.load(&spec.plugin).await.map_err(|problem| problem.at("/plugin"))?;
        let manifest = plugin.manifest();
        if manifest.kind != spec.kind {
            let word = |kind| serde_json::to_value(kind).ok().and_then(|word| word.as_str().map(str::to_owned));
            let (is, wanted) = (word(manifest.kind).unwrap_or_default(), word(spec.kind).unwrap_or_default());
            let detail = format!("`{}` is of kind {is}, and is attached as {wanted}", spec.plugin);
            return Err(Problem::new(ProblemKind::Invalid, detail).at("/kind"));
        }
        if spec.kind == PluginKind::RegistrySource {
            let detail = format!("`{}` is a registry source, which stands in no chain", spec.plugin);
            let hint = "attach it with `fairlead registry add NAME --plugin PLUGIN=CONFIG`";
            return Err(Problem::new(ProblemKind::Invalid, detail).hint(hint).at("/kind"));
        }
        let missing = fairlead_core::grant::missing(&manifest.capabilities, &spec.grants);
        if !missing.is_empty() {
            let error = AttachError::Grants { plugin: manifest.name.clone(), missing };
            return Err(not_attached(spec, &error));
        }
        let checked = self.plugins.host.check(&plugin, &spec.config).await;
        checked.map(drop).map_err(|error| not_attached(spec, &error))
    }

    async fn link(&mut self, purpose: Purpose<'_>, key: &ServerKey, ingredient: Ingredient) -> Result<Link, Problem> {
        let Ingredient { level, spec, pointer, .. } = ingredient;
        let middleware = self.middleware(purpose, level, key, &spec).await.map_err(|problem| match &pointer {
            Some(pointer) if pointer == TOOLS_POINTER => problem.at(TOOLS_POINTER),
            Some(pointer) => below(problem, pointer),
            None => {
                let detail = format!("{} of the {}: {}", spec.name, level.as_str(), problem.detail);
                Problem { detail, pointer: None, ..problem }
            }
        })?;
        let (revision, middleware) = middleware;
        Ok(Link { name: spec.name, level, failure_mode: spec.failure_mode, revision: revision.into(), middleware })
    }

    async fn middleware(
        &mut self,
        purpose: Purpose<'_>,
        level: Level,
        key: &ServerKey,
        spec: &AttachmentSpec,
    ) -> Result<(String, Arc<dyn Middleware>), Problem> {
        let plugin = self.load(&spec.plugin).await.map_err(|problem| problem.at("/plugin"))?;
        let manifest = plugin.manifest();
        let revision = format!("{} {} {}", manifest.name, manifest.version, short(plugin.digest()));
        let place = place_at(level, &key.name);
        let (tenant, spec) = (key.tenant.clone(), spec.clone());
        let Purpose::Rehearsal { place: prefix } = purpose else {
            let binding = BindingKey {
                tenant: tenant.clone(),
                place: place.clone(),
                digest: plugin.digest().to_string(),
                spec: json!(spec).to_string(),
            };
            if let Some(known) = self.bindings.find(&binding) {
                return Ok((revision, known));
            }
            let attached = self.plugins.host.attach(&plugin, Attachment { tenant, place, spec: spec.clone() }).await;
            let middleware = attached.map_err(|error| not_attached(&spec, &error))?;
            self.bindings.keep(binding, &middleware);
            return Ok((revision, middleware));
        };
        let place = format!("{prefix}{place}");
        let attached = self.plugins.host.attach(&plugin, Attachment { tenant, place, spec: spec.clone() }).await;
        Ok((revision, attached.map_err(|error| not_attached(&spec, &error))?))
    }

    async fn load(&mut self, reference: &str) -> Result<Arc<Plugin>, Problem> {
        if let Some(plugin) = self.loaded.get(reference) {
            return Ok(Arc::clone(plugin));
        }
        let plugin = self.plugins.load(&self.rules.plugins, reference).await?;
        self.loaded.insert(reference.to_owned(), Arc::clone(&plugin));
        Ok(plugin)
    }
}

/// Scope of the state of an attachment, within its tenant.
pub(super) fn place_at(level: Level, server: &ServerName) -> String {
    match level {
        Level::Platform => Owner::Platform.place().to_owned(),
        Level::Tenant => "tenant".to_owned(),
        Level::Server => place(server),
    }
}

fn below(problem: Problem, pointer: &str) -> Problem {
    let inside = problem.pointer.clone().unwrap_or_default();
    problem.at(format!("{pointer}{inside}"))
}

/// Enough of a digest to tell two revisions apart.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(DIGEST_CHARS_SHOWN).collect()
}

fn not_attached(spec: &AttachmentSpec, error: &AttachError) -> Problem {
    let place = match error {
        AttachError::Config { problems, .. } => {
            format!("/config{}", problems.first().map(|problem| problem.pointer.as_str()).unwrap_or_default())
        }
        AttachError::Refused { .. } => "/config".to_owned(),
        AttachError::Grants { .. } | AttachError::Grant { .. } => "/grants".to_owned(),
        AttachError::Limit { name, .. } => format!("/limits/{name}"),
        AttachError::Kind { .. }
        | AttachError::NoSource { .. }
        | AttachError::Interest { .. }
        | AttachError::Instance { .. } => "/plugin".to_owned(),
    };
    let kind = match error {
        AttachError::Grants { .. } => ProblemKind::Forbidden,
        _ => ProblemKind::Invalid,
    };
    let detail = match text::chain(error) {
        // Most errors name the plugin; the attachment is worth naming when it is called otherwise.
        text if text.contains(&format!("`{}`", spec.name)) => text,
        text => format!("plugin `{}`: {text}", spec.name),
    };
    let problem = Problem::new(kind, detail).at(place);
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
