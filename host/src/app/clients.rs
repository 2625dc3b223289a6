//! Client applications, kept in step with the servers that there are.

use std::sync::Arc;

use fairlead_core::name::{GroupName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};

use super::App;
use super::managed::url;
use crate::api::types::{ClientInfo, ClientList};
use crate::clients::{Clients, ClientsError, FileError, Offered, Offers, State};
use crate::text;

impl App {
    /// Every client that is known, and what is registered.
    ///
    /// # Errors
    /// The table of clients is wrong, or nobody knows where the user's files are.
    pub(crate) async fn list_clients(self: &Arc<Self>) -> Result<ClientList, Problem> {
        let offers = self.offers();
        let states = self.with_clients(move |clients| clients.status(&offers)).await?;
        Ok(ClientList { clients: states.into_iter().map(info).collect() })
    }

    /// Registers a client: its file has an entry for every server from now on.
    ///
    /// # Errors
    /// There is no such client, or its file cannot be changed; it is then as it was.
    pub(crate) async fn register_client(
        self: &Arc<Self>,
        id: String,
        group: Option<GroupName>,
    ) -> Result<ClientInfo, Problem> {
        let offers = self.offers();
        let (named, known) = (id.clone(), offers.clone());
        self.with_clients(move |clients| clients.register(&named, group, &known)).await?;
        self.client(&id, offers).await
    }

    /// Takes our entries out of a client's file.
    ///
    /// # Errors
    /// It is not registered, or its file cannot be changed.
    pub(crate) async fn remove_client(self: &Arc<Self>, id: String) -> Result<(), Problem> {
        self.with_clients(move |clients| clients.remove(&id)).await
    }

    /// Puts back what a client's file was before its last change.
    ///
    /// # Errors
    /// It was changed since, or never by us.
    pub(crate) async fn undo_client(self: &Arc<Self>, id: String) -> Result<ClientInfo, Problem> {
        let named = id.clone();
        self.with_clients(move |clients| clients.undo(&named)).await?;
        self.client(&id, self.offers()).await
    }

    /// Brings every registered client in step. What does not work is said in the log and by `client status`: a server is
    /// not refused because of an editor's file.
    pub(crate) async fn sync_clients(self: &Arc<Self>) {
        let offers = self.offers();
        match self.with_clients(move |clients| clients.sync(&offers)).await {
            Ok(failed) => {
                for (client, error) in failed {
                    tracing::warn!(client, error = text::chain(&error), "a client application is not in step");
                }
            }
            Err(problem) => tracing::warn!(error = problem.detail, "client applications are not in step"),
        }
    }

    async fn client(self: &Arc<Self>, id: &str, offers: Offers) -> Result<ClientInfo, Problem> {
        let states = self.with_clients(move |clients| clients.status(&offers)).await?;
        let state = states.into_iter().find(|state| state.id == id);
        state.map(info).ok_or_else(|| problem(&ClientsError::Unknown(id.to_owned())))
    }

    /// Servers of the user of this machine: those of other tenants have clients of their own.
    fn offers(&self) -> Offers {
        let address = self.address;
        let all = self.slots.look_at_all(|managed| {
            let record = &managed.record;
            let offered = Offered { url: url(address, &record.key), group: record.spec.group.clone() };
            (record.key.tenant == TenantName::default()).then(|| (record.key.name.to_string(), offered))
        });
        all.into_iter().flatten().collect()
    }

    async fn with_clients<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Clients) -> Result<T, ClientsError> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&app.clients)).await;
        let broke_off = |error| Problem::new(ProblemKind::Internal, format!("the change broke off: {error}"));
        done.map_err(broke_off)?.map_err(|error| problem(&error))
    }
}

fn info(state: State) -> ClientInfo {
    let State { id, name, path, installed, registered, group, entries, problem } = state;
    ClientInfo { id, name, path: path.display().to_string(), installed, registered, group, entries, problem }
}

fn problem(error: &ClientsError) -> Problem {
    let kind = match error {
        ClientsError::Unknown(_) | ClientsError::NotRegistered(_) => ProblemKind::NotFound,
        ClientsError::Taken { .. } => ProblemKind::Conflict,
        ClientsError::File(FileError::Changed { .. } | FileError::NothingToUndo { .. }) => ProblemKind::Conflict,
        ClientsError::File(FileError::Edit { .. } | FileError::TooLarge { .. }) => ProblemKind::Invalid,
        _ => ProblemKind::Unavailable,
    };
    let problem = Problem::new(kind, text::chain(error));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
