defmodule DSPex.Native.LM.Chat do
  @moduledoc """
  One chat completion: the request, its answer whole or as a stream, and every way in which it can fail as an error.
  """

  alias DSPex.Error
  alias DSPex.Native.LM.Sse

  @doc """
  Makes one attempt within `timeout` milliseconds. `on_text` gets the pieces of a streamed answer. An error tells whether
  any piece was handed on before it (`:touched`).
  """
  @spec request(DSPex.Native.LM.t(), [{String.t(), String.t()}], DSPex.Ordered.t(), (String.t() -> term) | nil, timeout) ::
          {:ok, DSPex.Native.LM.completion()} | {:error, Error.t(), :touched | :untouched}
  def request(lm, headers, body, on_text, timeout) do
    deadline = System.monotonic_time(:millisecond) + timeout

    with {:ok, json} <- encode(body) do
      handle = lm.http.post(lm.base_url <> "/chat/completions", [{"accept", "*/*"} | headers], json, timeout)

      try do
        answer(lm, handle, on_text, deadline)
      after
        lm.http.close(handle)
      end
    end
  end

  @doc "The provider of an LM, the part of its model's name before the first slash."
  @spec provider(DSPex.Native.LM.t()) :: String.t()
  def provider(lm), do: lm.model |> String.split("/") |> hd()

  defp encode(body) do
    case DSPex.Wire.Json.encode(body, %DSPex.Wire.Limits{attach: :infinity}) do
      {:ok, json, []} -> {:ok, json}
      {:error, error} -> {:error, error, :untouched}
    end
  end

  defp answer(lm, handle, on_text, deadline) do
    case lm.http.next(handle, left(deadline)) do
      {:status, 200, _headers} when on_text == nil ->
        whole(lm, handle, deadline, [], 0)

      {:status, 200, _headers} ->
        stream(lm, handle, deadline, %{
          sse: Sse.new(),
          texts: [],
          usage: %{},
          model: nil,
          finish: nil,
          size: 0,
          on_text: on_text
        })

      {:response, 200, _headers, body} ->
        completion(lm, body)

      {:response, status, headers, body} ->
        {:error, status_error(lm, status, headers, body), :untouched}

      other ->
        {:error, broken(lm, other), :untouched}
    end
  end

  defp whole(lm, handle, deadline, parts, size) do
    case lm.http.next(handle, left(deadline)) do
      {:data, bytes} when size + byte_size(bytes) > lm.max_bytes -> {:error, too_large(lm), :untouched}
      {:data, bytes} -> whole(lm, handle, deadline, [bytes | parts], size + byte_size(bytes))
      :done -> parts |> Enum.reverse() |> IO.iodata_to_binary() |> then(&completion(lm, &1))
      other -> {:error, broken(lm, other), :untouched}
    end
  end

  defp stream(lm, handle, deadline, state) do
    with {:data, bytes} <- lm.http.next(handle, left(deadline)),
         {:ok, events, sse} <- Sse.feed(state.sse, bytes),
         {:ok, state} <- events(events, %{state | sse: sse, size: state.size + byte_size(bytes)}),
         {:size, true} <- {:size, state.size <= lm.max_bytes} do
      stream(lm, handle, deadline, state)
    else
      :finished -> finished(lm, state)
      {:finished, state} -> finished(lm, state)
      :done -> ended(lm, state)
      {:size, false} -> {:error, too_large(lm), touched(state)}
      {:error, problem} when is_binary(problem) -> {:error, malformed(lm, problem), touched(state)}
      {:server, error} -> {:error, error_in_stream(lm, error), touched(state)}
      other -> {:error, broken(lm, other), touched(state)}
    end
  end

  defp events([], state), do: {:ok, state}
  defp events(["[DONE]" | _rest], state), do: {:finished, state}

  defp events([event | rest], state) do
    case DSPex.Wire.Json.library().decode(event) do
      {:ok, raw} -> with {:ok, state} <- raw |> plain() |> event(state), do: events(rest, state)
      {:error, problem} -> {:error, "an event is no JSON: #{problem}"}
    end
  end

  defp event(%{"error" => error}, _state), do: {:server, error}

  defp event(%{} = chunk, state) do
    state = %{state | usage: usage(chunk["usage"], state.usage), model: chunk["model"] || state.model}

    case chunk["choices"] do
      [%{"index" => index} | _rest] when index not in [0, nil] -> {:ok, state}
      [%{} = choice | _rest] -> {:ok, delta(choice, state)}
      _none -> {:ok, state}
    end
  end

  defp event(_other, _state), do: {:error, "an event is no object"}

  defp delta(choice, state) do
    state = %{state | finish: choice["finish_reason"] || state.finish}

    case choice["delta"] do
      %{"content" => text} when is_binary(text) and text != "" ->
        state.on_text.(text)
        %{state | texts: [text | state.texts]}

      _no_text ->
        state
    end
  end

  defp finished(lm, state) do
    text = state.texts |> Enum.reverse() |> IO.iodata_to_binary()
    {:ok, %{text: text, texts: [text], usage: state.usage, model: state.model || lm.model, finish_reason: state.finish}}
  end

  # A server that closes the stream after its last piece is taken for done; one that closes it before is not.
  defp ended(lm, %{finish: nil} = state),
    do: {:error, malformed(lm, "the stream ended before the answer did"), touched(state)}

  defp ended(lm, state), do: finished(lm, state)

  defp touched(%{texts: []}), do: :untouched
  defp touched(_state), do: :touched

  defp completion(lm, body) do
    with {:ok, raw} <- DSPex.Wire.Json.library().decode(body),
         %{"choices" => [_first | _rest] = choices} = answer <- plain(raw),
         texts when is_list(texts) <- texts(choices) do
      usage = usage(answer["usage"], %{})
      finish = hd(choices)["finish_reason"]
      {:ok, %{text: hd(texts), texts: texts, usage: usage, model: answer["model"] || lm.model, finish_reason: finish}}
    else
      _no_completion -> {:error, malformed(lm, "it is no chat completion"), :untouched}
    end
  end

  defp texts(choices) do
    texts =
      for choice <- choices, do: is_map(choice) && is_map(choice["message"]) && (choice["message"]["content"] || "")

    Enum.all?(texts, &is_binary/1) && texts
  end

  defp usage(%{} = usage, _old),
    do:
      for(
        name <- ~w(prompt_tokens completion_tokens total_tokens),
        count = usage[name],
        is_integer(count),
        into: %{},
        do: {name, count}
      )

  defp usage(_none, old), do: old

  defp status_error(lm, status, headers, body) do
    {text, code} = error_text(lm, body)
    retryable? = status in [408, 429] or status >= 500
    hint = if status in [401, 403] and lm.api_key_env, do: "; look at the key in #{lm.api_key_env}", else: ""
    message = "the LM #{lm.model} answered with status #{status}: #{text}#{hint}"
    details = %{"provider" => provider(lm), "status" => status, "code" => code}
    Error.new(:lm_error, message, retryable?: retryable?, retry_after: retry_after(headers), details: details)
  end

  defp error_in_stream(lm, error) do
    {text, code} = read_error(lm, error)

    Error.new(:lm_error, "the LM #{lm.model} broke its answer off: #{text}",
      retryable?: true,
      details: %{"provider" => provider(lm), "code" => code}
    )
  end

  defp error_text(lm, body) do
    case DSPex.Wire.Json.library().decode(body) do
      {:ok, raw} ->
        read_error(lm, Map.get(as_map(plain(raw)), "error", "no message"))

      {:error, _problem} ->
        {if(String.valid?(body), do: shown(lm, body, 200), else: "a body that is no text"), nil}
    end
  end

  defp read_error(lm, %{} = error), do: {shown(lm, error["message"], 500), code(lm, error["code"] || error["type"])}
  defp read_error(lm, other), do: {shown(lm, other, 500), nil}

  defp code(lm, code) when is_binary(code), do: shown(lm, code, 100)
  defp code(_lm, code), do: code

  # Some servers repeat the key that they refuse. It is hidden before the text is cut, or half of it could stay.
  defp shown(lm, text, most) do
    text = to_text(text)
    key = if lm.api_key_env, do: String.trim(System.get_env(lm.api_key_env, "")), else: ""
    text = if byte_size(key) >= 8, do: String.replace(text, key, "[key]"), else: text
    String.slice(text, 0, most)
  end

  defp as_map(%{} = map), do: map
  defp as_map(_other), do: %{}

  defp to_text(text) when is_binary(text), do: text
  defp to_text(other), do: inspect(other, limit: 5)

  defp retry_after(headers) do
    with {_name, value} <- List.keyfind(headers, "retry-after", 0),
         {seconds, _rest} when seconds >= 0 <- Float.parse(value) do
      seconds
    else
      _none -> nil
    end
  end

  defp broken(lm, :timeout), do: broken(lm, {:error, :timeout})

  defp broken(lm, {:error, :timeout}) do
    Error.new(
      :timeout,
      "the LM #{lm.model} did not answer within its time (#{lm.timeout} ms for one request, or the call's deadline)",
      details: %{"provider" => provider(lm)}
    )
  end

  defp broken(lm, {:error, reason}) do
    text = "the connection to the LM #{lm.model} at #{URI.parse(lm.base_url).host} failed: #{reason(reason)}"
    Error.new(:lm_error, text, retryable?: true, details: %{"provider" => provider(lm)})
  end

  defp broken(lm, _other), do: malformed(lm, "the answer ended early")

  defp malformed(lm, problem) do
    Error.new(:lm_error, "the LM #{lm.model} gave an answer that cannot be read: #{problem}",
      retryable?: true,
      details: %{"provider" => provider(lm)}
    )
  end

  defp too_large(lm),
    do: Error.new(:limit_exceeded, "the answer of the LM #{lm.model} has more than #{lm.max_bytes} bytes")

  defp reason({:failed_connect, details}), do: Enum.find_value(details, "it was refused", &connect_reason/1)
  defp reason({:tls_alert, {alert, _text}}), do: "TLS ended with the alert #{alert}; look at the server's certificate"
  defp reason(:socket_closed_remotely), do: "the server closed it"
  defp reason(reason), do: inspect(reason, limit: 3, printable_limit: 80)

  defp connect_reason({_family, _options, reason}) when is_atom(reason), do: Atom.to_string(reason)
  defp connect_reason({_family, _options, {:tls_alert, _alert} = reason}), do: reason(reason)
  defp connect_reason(_other), do: nil

  defp plain({pairs}), do: Map.new(pairs, fn {key, value} -> {key, plain(value)} end)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(value), do: value

  defp left(deadline), do: max(0, deadline - System.monotonic_time(:millisecond))
end
