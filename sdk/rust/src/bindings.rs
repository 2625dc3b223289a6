//! What `wit-bindgen` makes of the contract. Generated, so the lints of this workspace do not apply to it; nothing here
//! is part of the public interface of the crate except the types that are re-exported by name.
//!
//! One internal world exports everything, so that all kinds share one set of types. It is never what a plugin claims to
//! be: the export macros take the interfaces of one kind from it, and embed the type of the real world (`build.rs`).

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package fairlead:sdk;
        world all {
            import fairlead:types/types@0.1.0;
            import fairlead:host/log@0.1.0;
            import fairlead:host/clock@0.1.0;
            import fairlead:host/kv@0.1.0;
            import fairlead:host/secrets@0.1.0;
            import fairlead:host/metrics@0.1.0;
            import fairlead:middleware/exchange@0.1.0;
            export fairlead:types/manifest@0.1.0;
            export fairlead:middleware/hooks@0.1.0;
            export fairlead:registry-source/source@0.1.0;
            export fairlead:update-policy/policy@0.1.0;
        }
    ",
    world: "fairlead:sdk/all",
    generate_all,
    additional_derives: [PartialEq],
    pub_export_macro: true,
    default_bindings_module: "fairlead_plugin::bindings",
});
