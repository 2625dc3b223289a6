package main

import (
	"context"
	"log"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// What all names of Services end in.
const zone = ".svc.cluster.local."

// How long an answer may be kept: pods come and go while a test looks.
const seconds = 1

type book struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// Answers for names of Services, as the cluster's own DNS would, and for no others.
func names(client kubernetes.Interface, address string) {
	factory := informers.NewSharedInformerFactory(client, 0)
	book := book{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
	factory.Start(context.Background().Done())
	factory.WaitForCacheSync(context.Background().Done())
	socket, err := net.ListenPacket("udp4", address)
	if err != nil {
		log.Fatal(err)
	}
	question := make([]byte, 1500)
	for {
		length, from, err := socket.ReadFrom(question)
		if err != nil {
			log.Fatal(err)
		}
		if answer, err := book.answer(question[:length]); err == nil {
			_, _ = socket.WriteTo(answer, from)
		}
	}
}

func (book book) answer(message []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	addresses, known := book.find(strings.ToLower(question.Name.String()))
	reply := dnsmessage.Header{
		ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired,
		RecursionAvailable: true,
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	builder := dnsmessage.NewBuilder(nil, reply)
	if err := builder.StartQuestions(); err != nil {
		return nil, err
	}
	if err := builder.Question(question); err != nil {
		return nil, err
	}
	if err := builder.StartAnswers(); err != nil {
		return nil, err
	}
	for _, text := range addresses {
		address, err := netip.ParseAddr(text)
		if err != nil || !address.Is4() || question.Type != dnsmessage.TypeA {
			continue
		}
		resource := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: seconds}
		if err := builder.AResource(resource, dnsmessage.AResource{A: address.As4()}); err != nil {
			return nil, err
		}
	}
	return builder.Finish()
}

// Addresses of `service.namespace`, or of one pod of a headless Service, `pod.service.namespace`.
func (book book) find(name string) ([]string, bool) {
	inner, ok := strings.CutSuffix(name, zone)
	words := strings.Split(inner, ".")
	if !ok || len(words) < 2 || len(words) > 3 {
		return nil, false
	}
	of, namespace := words[len(words)-2], words[len(words)-1]
	service, err := book.services.Services(namespace).Get(of)
	if err != nil {
		return nil, false
	}
	if len(words) == 2 && service.Spec.ClusterIP != v1.ClusterIPNone {
		return []string{service.Spec.ClusterIP}, true
	}
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: of})
	slices, _ := book.slices.EndpointSlices(namespace).List(selector)
	var addresses []string
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			named := len(words) == 2 || endpoint.Hostname != nil && *endpoint.Hostname == words[0]
			if ready && named {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
	}
	return addresses, len(addresses) > 0
}
