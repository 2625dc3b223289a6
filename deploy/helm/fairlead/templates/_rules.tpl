{{- /* What the operator may where its servers are: as in `deploy/operator.yaml`, and a test compares them. What it grants to
proxies (pods, pods/attach) it has to have itself, for nobody may grant more than they have; to trials it speaks by pods/attach and
pods/portforward, to registries by pods/portforward. */ -}}
{{- define "fairlead.rules" -}}
- apiGroups: [fairlead.dev]
  resources: [mcpregistries, mcpservers]
  verbs: [list, patch, watch]
- apiGroups: [fairlead.dev]
  resources: [mcpregistries/status, mcpservers/status]
  verbs: [patch]
- apiGroups: [fairlead.dev]
  resources: [mcpregistries/entries]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings, roles]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, get, list, watch]
- apiGroups: [""]
  resources: [pods/attach, pods/portforward]
  verbs: [create, get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- /* What lets registries review the tokens of their clients. It has no namespace, so an operator of one namespace has none of it. */ -}}
{{- define "fairlead.reviewerRules" -}}
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterrolebindings]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{- /* What is the platform's, and read everywhere. */ -}}
{{- define "fairlead.platformRules" -}}
- apiGroups: [fairlead.dev]
  resources: [pluginattachments, plugins, tenants]
  verbs: [list, watch]
{{- end }}
