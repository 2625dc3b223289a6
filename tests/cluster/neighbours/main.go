// What a node of the test cluster has around it: the way to the API server and to the OCI registries of tests, names of Services,
// and somebody who gives it pods.
//
// A scheduler would give it all pods, also those of tests that say themselves what became of their pods; here it gets those of
// namespaces that ask for it, by a label. Everything listens on the machine's end of the link to the node, and nowhere else.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how the cluster is reached")
	node := flag.String("node", "", "name of the node")
	link := flag.String("link", "", "our end of the link to the node")
	port := flag.String("port", "", "of the API server, on loopback and on the link")
	ready := flag.String("ready", "", "a file that is made when the node is ready")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	config.QPS, config.Burst = 100, 200
	client := kubernetes.NewForConfigOrDie(config)
	go relay(*link+":"+*port, "127.0.0.1:"+*port)
	go registries(*link + ":5000")
	go names(client, *link+":53")
	go bind(client, *node)
	announce(client, *node, *ready)
	select {}
}

// Says when the node is ready for pods.
func announce(client kubernetes.Interface, name, file string) {
	for {
		node, err := client.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
		if err == nil {
			for _, condition := range node.Status.Conditions {
				if condition.Type == v1.NodeReady && condition.Status == v1.ConditionTrue {
					if err := os.WriteFile(file, nil, 0o644); err != nil {
						log.Fatal(err)
					}
					return
				}
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
}
