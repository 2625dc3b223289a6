//! Builders for the manifest: what a plugin says of itself.

use crate::{Capability, Interest, Kind, Manifest, Phases};

impl Manifest {
    /// A manifest with a name (lower-case letters, digits and `-`), a semantic version and one sentence.
    ///
    /// The kind and the schema of the configuration are filled in by the export macro.
    pub fn new(name: impl Into<String>, version: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            kind: Kind::Middleware,
            description: description.into(),
            config_schema: String::new(),
            interests: Vec::new(),
            capabilities: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Adds an interest: the most that the middleware will ask to be called for.
    #[must_use]
    pub fn interest(mut self, interest: impl Into<Interest>) -> Self {
        self.interests.push(interest.into());
        self
    }

    /// Adds a capability without which the plugin cannot work, and why, for the person who grants it.
    #[must_use]
    pub fn capability(mut self, name: impl Into<String>, reason: impl Into<String>) -> Self {
        self.capabilities.push(Capability { name: name.into(), scope: Vec::new(), reason: reason.into() });
        self
    }

    /// Adds an attribute: homepage, licence, authors.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

impl Interest {
    /// Interest in a method or pattern (`tools/call`, `tools/*`, `*/list`, `*`), at no moment yet.
    pub fn on(method: impl Into<String>) -> Self {
        Self { method: method.into(), target: None, phases: Phases::empty() }
    }

    /// Only messages whose target matches the pattern.
    #[must_use]
    pub fn target(mut self, pattern: impl Into<String>) -> Self {
        self.target = Some(pattern.into());
        self
    }

    /// Requests and notifications on their way to the server.
    #[must_use]
    pub fn request(self) -> Self {
        self.phase(Phases::REQUEST)
    }

    /// Results on their way back.
    #[must_use]
    pub fn response(self) -> Self {
        self.phase(Phases::RESPONSE)
    }

    /// Errors on their way back.
    #[must_use]
    pub fn error(self) -> Self {
        self.phase(Phases::ERROR)
    }

    /// Messages that the server sends on a stream.
    #[must_use]
    pub fn event(self) -> Self {
        self.phase(Phases::EVENT)
    }

    /// Whether a message at this moment is meant. The host's own methods (`fairlead/listen`, …) are meant only by a pattern that
    /// begins like them.
    #[must_use]
    pub fn covers(&self, phase: Phases, method: &str, target: Option<&str>) -> bool {
        let own = |text: &str| text.starts_with("fairlead/");
        self.phases.contains(phase)
            && (own(&self.method) || !own(method))
            && crate::pattern::matches(&self.method, method)
            && self
                .target
                .as_deref()
                .is_none_or(|pattern| target.is_some_and(|target| crate::pattern::matches(pattern, target)))
    }

    fn phase(mut self, phase: Phases) -> Self {
        self.phases |= phase;
        self
    }
}
