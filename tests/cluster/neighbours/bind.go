package main

import (
	"context"
	"log"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// A namespace with it wants its pods to run.
const wanted = "fairlead.dev/test-node"

// Gives every pod without a node to ours, in namespaces that want it.
func bind(client kubernetes.Interface, node string) {
	unbound := informers.WithTweakListOptions(func(options *metav1.ListOptions) {
		options.FieldSelector = "spec.nodeName="
	})
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, unbound)
	give := func(object any) {
		pod, ok := object.(*v1.Pod)
		if !ok || pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0 {
			return
		}
		// Nobody asks twice for a pod that was not bound, so it is tried until it is or is gone.
		go func() {
			for !bound(client, pod, node) {
				time.Sleep(time.Second)
			}
		}()
	}
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: give})
	if err != nil {
		log.Fatal(err)
	}
	factory.Start(context.Background().Done())
}

// Whether there is nothing left to do for a pod.
func bound(client kubernetes.Interface, pod *v1.Pod, node string) bool {
	ctx := context.Background()
	namespace, err := client.CoreV1().Namespaces().Get(ctx, pod.Namespace, metav1.GetOptions{})
	if err == nil {
		if _, ok := namespace.Labels[wanted]; !ok {
			return true
		}
		err = client.CoreV1().Pods(pod.Namespace).Bind(ctx, &v1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
			Target:     v1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
	}
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return true
	}
	log.Printf("bind %s/%s: %v", pod.Namespace, pod.Name, err)
	return false
}
