{{/* What the pods of services and of migrations have in common. Of: root, service. */}}
{{- define "docqa.podSpec" -}}
{{- $pods := .root.Values.pods -}}
{{- $own := index .root.Values.services .service -}}
automountServiceAccountToken: false
# Kubernetes would set DOCQA_GATEWAY_PORT=tcp://… for a Service docqa-gateway: a setting of ours, with nonsense in it.
enableServiceLinks: false
{{- with $pods.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with merge (deepCopy $own.nodeSelector) $pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $pods.tolerations $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "docqa.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
